"""The control socket of one mount: accepts, checks who it is, reads one request, writes one answer."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from phonevault.daemon import protocol
from phonevault.daemon.protocol import Answer, Request
from phonevault.errors import ControlError, describe

REQUEST_TIMEOUT_S = 5.0
MAX_CONNECTIONS = 8
BACKLOG = 32
_UCRED = struct.Struct("iII")
"""struct ucred of unix(7): pid, uid, gid."""

Handler = Callable[[Request, bytearray], Answer]
"""Carries out a request; the second argument is the secret that came with it, wiped afterwards."""


class ControlServer:
    """Listens on a socket in the private runtime directory.

    Args:
        directory: The runtime directory (mode 0700).
        name: The socket's file name.
        handler: Carries out requests; called from several threads.
    """

    def __init__(self, directory: Path, name: str, handler: Handler) -> None:
        self._path = directory / name
        self._handler = handler
        self._changed = threading.Condition()
        self._answering = 0
        self._socket = _bind(directory, name)
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def close(self) -> None:
        """Stop accepting, remove the socket, and let the answers under way get out (for a second at most)."""
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._changed:
            self._changed.wait_for(lambda: self._answering == 0, timeout=1.0)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            with self._changed:
                if self._answering >= MAX_CONNECTIONS:
                    connection.close()
                    continue
                self._answering += 1
            threading.Thread(target=self._serve, args=(connection,), name="control", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            answer_one(connection, self._handler)
        finally:
            with self._changed:
                self._answering -= 1
                self._changed.notify_all()


def answer_one(connection: socket.socket, handler: Handler) -> None:
    """Read a request from a fresh connection, carry it out, write the answer, close."""
    secret = bytearray()
    with connection:
        try:
            connection.settimeout(REQUEST_TIMEOUT_S)
            check_peer(connection)
            request, secret = read_request(connection)
            answer = protocol.encode_answer(handler(request, secret))
        except BaseException as error:
            report = describe(error)
            if report is None:
                raise
            answer = protocol.encode_error(report)
        finally:
            secret[:] = bytes(len(secret))
        with contextlib.suppress(OSError):  # the caller went away: nobody to tell
            connection.sendall(answer)


def check_peer(connection: socket.socket) -> None:
    """Refuse other users than this one and root (SO_PEERCRED, unix(7)); the directory's mode does so first."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, _ = _UCRED.unpack(raw)
    if uid not in (0, os.getuid()):
        raise ControlError("this mount belongs to another user")


def read_request(connection: socket.socket) -> tuple[Request, bytearray]:
    """Read the line and the secret that it announces; nothing may follow.

    Raises:
        ControlError: Malformed, too long, or not in time.
    """
    received = bytearray()
    limit = protocol.MAX_REQUEST_BYTES + protocol.MAX_SECRET_BYTES
    try:
        while (end := received.find(b"\n")) < 0:
            _receive(connection, received, limit)
        request = protocol.parse_request(bytes(received[:end]))
        while len(received) < end + 1 + request.secret_bytes:
            _receive(connection, received, limit)
        secret = received[end + 1 :]
        if len(secret) != request.secret_bytes:
            secret[:] = bytes(len(secret))
            raise ControlError("control request with something after it")
        return request, secret
    finally:
        received[:] = bytes(len(received))


def _receive(connection: socket.socket, into: bytearray, limit: int) -> None:
    buffer = bytearray(4096)
    try:
        count = connection.recv_into(buffer)
    except OSError as error:
        raise ControlError("control request incomplete") from error
    if count == 0 or len(into) + count > limit:
        raise ControlError("control request incomplete or too long")
    # Grown in place, so that no copy of a secret is left in memory given back.
    into += memoryview(buffer)[:count]
    buffer[:] = bytes(len(buffer))


def _bind(directory: Path, name: str) -> socket.socket:
    """Bind through a descriptor of the directory: a socket's name is limited to 107 bytes, a path is not."""
    (directory / name).unlink(missing_ok=True)  # of a daemon that died; a living one holds the vault's flock
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        server.bind(f"/proc/self/fd/{folder}/{name}")
        os.chmod(directory / name, 0o600)
        server.listen(BACKLOG)
    except BaseException:
        server.close()
        raise
    finally:
        os.close(folder)
    return server
