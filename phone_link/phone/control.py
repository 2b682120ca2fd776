"""STORE/agent.sock: how `phonevault-phone lock` and the like reach the running agent.

One JSON object and a line feed each way, one exchange a connection: `{"command": "lock"}` is answered by
`{"ok": true, …}`. The socket has mode 0600, and both ends check the user of the other (SO_PEERCRED).
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from phone_link.errors import LinkError
from phone_link.phone.errors import AgentNotRunning, AgentRunning, StoreError

SOCKET = "agent.sock"
AGENT_LOCK = "agent.lock"
MAX_MESSAGE_BYTES = 65536
TIMEOUT_S = 10.0
_UCRED = struct.Struct("3i")

Answerer = Callable[[str], dict[str, Any]]


@contextmanager
def _short_path(store: Path) -> Iterator[str]:
    """Give the socket's path in a form that always fits into a sockaddr_un (108 bytes)."""
    descriptor = os.open(store, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)


def _peer_is_us(connection: socket.socket) -> bool:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, _ = _UCRED.unpack(credentials)
    return uid in (0, os.geteuid())


def _receive_line(connection: socket.socket) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n"):
        part = connection.recv(4096)
        if not part or len(data) > MAX_MESSAGE_BYTES:
            return b""
        data += part
    return bytes(data)


class AgentLock:
    """At most one agent a store: a flock on STORE/agent.lock, which ends with the process."""

    def __init__(self, store: Path) -> None:
        """Take it; `AgentRunning` if another agent has it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(store / AGENT_LOCK, flags, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise AgentRunning("another phonevault-phone serves this store") from None

    def release(self) -> None:
        """Give it back."""
        os.close(self._descriptor)


class ControlServer:
    """Answers at STORE/agent.sock in a thread of its own; only the holder of `AgentLock` may make one."""

    def __init__(self, store: Path, answer: Answerer) -> None:
        self._store = store
        self._answer = answer
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with suppress(FileNotFoundError):
            os.unlink(store / SOCKET)  # of an agent that was killed: we hold its lock
        os.fchmod(self._socket.fileno(), 0o600)
        with _short_path(store) as path:
            self._socket.bind(path)
        os.chmod(store / SOCKET, 0o600)
        self._socket.listen(8)
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop and remove the socket."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with suppress(FileNotFoundError):
            os.unlink(self._store / SOCKET)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(TIMEOUT_S)
                if _peer_is_us(connection):
                    self._exchange(connection)

    def _exchange(self, connection: socket.socket) -> None:
        try:
            request = json.loads(_receive_line(connection))
            command = request["command"] if set(request) == {"command"} else None
        except (ValueError, TypeError, KeyError, RecursionError):
            command = None
        if not isinstance(command, str):
            reply: dict[str, Any] = {"ok": False, "error": "malformed request"}
        else:
            try:
                reply = self._answer(command)
            except (LinkError, OSError) as error:
                reply = {"ok": False, "error": str(error)}
        connection.sendall(json.dumps(reply).encode() + b"\n")


def ask_agent(store: Path, command: str) -> dict[str, Any]:
    """Send a command to the agent of a store and return its answer.

    Raises:
        AgentNotRunning: nobody answers.
        StoreError: the answer is malformed or an error.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT_S)
        try:
            with _short_path(store) as path:
                connection.connect(path)
            if not _peer_is_us(connection):
                raise StoreError("another user answers at the store's socket")
            connection.sendall(json.dumps({"command": command}).encode() + b"\n")
            reply = json.loads(_receive_line(connection))
        except OSError:
            raise AgentNotRunning("no phonevault-phone serves this store") from None
        except ValueError:
            raise StoreError("the agent's answer is malformed") from None
    if not isinstance(reply, dict) or reply.get("ok") is not True:
        raise StoreError(
            f"the agent refused: {reply.get('error') if isinstance(reply, dict) else 'malformed'}"
        )
    return reply
