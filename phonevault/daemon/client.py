"""Talking to mount daemons from commands, and finding them."""

from __future__ import annotations

import os
import select
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phonevault.daemon import protocol
from phonevault.daemon.mounts import MountEntry, canonical_mountpoint, is_dead, phonevault_mounts
from phonevault.daemon.protocol import Answer, Request
from phonevault.errors import ControlError, DaemonGone, ErrorReport, NotMounted, ReportedError
from phonevault.paths import control_socket_name, runtime_dir

CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 90.0
"""Longer than a phone's user may take to agree."""
STATUS_TIMEOUT_S = 2.0
"""A daemon says at once how it is, whatever it is doing."""
END_TIMEOUT_S = 15.0
SILENT = "silent"
_TIMEVAL = struct.Struct("@ll")
_UCRED = struct.Struct("iII")


@dataclass(frozen=True)
class Found:
    """One mount of this user.

    Attributes:
        mountpoint: Canonical path.
        vault: The vault's path.
        alive: Whether it has a daemon here: one that answers, or one that is silent.
        status: What the daemon says (the object of `status --json`); without an answer what is known otherwise.
    """

    mountpoint: str
    vault: str
    alive: bool
    status: dict[str, Any]

    @property
    def silent(self) -> bool:
        """Whether the daemon is there and did not say in time how it is."""
        return bool(self.status["state"] == SILENT)


def call(mountpoint: str, request: Request, secret: bytearray | None = None) -> Answer:
    """Send one request to the daemon of a canonical mount point and return its answer.

    Raises:
        NotMounted: There is no such mount.
        DaemonGone: There is, but its daemon has ended.
        ControlError: There is, but its daemon is to be reached elsewhere.
        ReportedError: The daemon answered with an error.
        ControlError: It did not answer, or malformed.
    """
    with _connect(mountpoint) as connection:
        return _exchange(connection, request, secret)


def call_and_await_end(mountpoint: str, request: Request) -> Answer:
    """As `call`, and return only when the daemon's process has ended."""
    with _connect(mountpoint) as connection:
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        try:
            process = os.pidfd_open(_UCRED.unpack(raw)[0])
        except OSError as error:
            raise ControlError("the mount daemon runs in another container: unmount it there") from error
        try:
            answer = _exchange(connection, request, None)
            if not select.select([process], [], [], END_TIMEOUT_S)[0]:
                raise ControlError("unmounted, but the mount daemon has not ended yet")
            return answer
        finally:
            os.close(process)


def find_mounts() -> list[Found]:
    """Return the mounts of this user: those with a daemon, and dead ones of the mount table."""
    directory = runtime_dir()
    found: dict[str, Found] = {}
    silent = set()
    for name in sorted(os.listdir(directory)):
        if name.endswith(".sock"):
            try:
                status = _status_of(directory, name)
            except TimeoutError:
                silent.add(name)
                continue
            if status is not None:
                found[status["mountpoint"]] = Found(status["mountpoint"], status["vault"], True, status)
    for entry in _own_mounts():
        if entry.mountpoint not in found:
            is_silent = bool(silent) and control_socket_name(entry.mountpoint) in silent
            status = _without_answer(entry, is_silent)
            found[entry.mountpoint] = Found(entry.mountpoint, entry.source, is_silent, status)
    return sorted(found.values(), key=lambda mount: mount.mountpoint)


def resolve(path: str) -> str:
    """Return the canonical mount point that a user means, without touching a mount."""
    known = {entry.mountpoint for entry in phonevault_mounts()}
    return canonical_mountpoint(path, known)


def _without_answer(entry: MountEntry, is_silent: bool) -> dict[str, Any]:
    """What is known of a mount whose daemon does not answer here."""
    state = SILENT if is_silent else "dead" if is_dead(entry.mountpoint) else "unreachable"
    fixed = {"vault": entry.source, "mountpoint": entry.mountpoint, "state": state}
    return {**fixed, "phone": None, "pid": None}


def _own_mounts() -> list[MountEntry]:
    return [entry for entry in phonevault_mounts() if entry.uid in (None, os.getuid())]


def _status_of(directory: Path, name: str) -> dict[str, Any] | None:
    """What the daemon behind a socket says, or None if there is none.

    Raises:
        TimeoutError: There is one, and it does not answer.
    """
    try:
        with _open(directory, name, STATUS_TIMEOUT_S) as connection:
            status = _exchange(connection, Request("status"), None, STATUS_TIMEOUT_S)
    except BlockingIOError:
        raise TimeoutError from None  # its backlog is full
    except (OSError, ControlError, ReportedError) as error:
        if isinstance(error.__cause__, TimeoutError):
            raise error.__cause__ from None
        return None  # of a daemon that died or is just ending; a dead mount is found in the mount table
    if isinstance(status.get("mountpoint"), str) and isinstance(status.get("vault"), str):
        return status
    return None


def _connect(mountpoint: str) -> socket.socket:
    try:
        return _open(runtime_dir(), control_socket_name(mountpoint))
    except (FileNotFoundError, ConnectionRefusedError):
        if any(entry.mountpoint == mountpoint for entry in _own_mounts()):
            if is_dead(mountpoint):
                raise DaemonGone(f"the mount daemon of {mountpoint} has ended, its mount is dead") from None
            raise ControlError(
                f"the mount daemon of {mountpoint} has no socket in {runtime_dir()}",
                "was it mounted with another XDG_RUNTIME_DIR?",
            ) from None
        raise NotMounted(f"no phonevault mount at {mountpoint}") from None
    except OSError as error:
        raise ControlError(f"the mount daemon of {mountpoint} does not answer: {error.strerror}") from error


def _open(directory: Path, name: str, timeout_s: float = CONNECT_TIMEOUT_S) -> socket.socket:
    """Connect through a descriptor of the directory: the path may be longer than a socket's name can be."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # A socket with a Python timeout is non-blocking and does not wait for a place in a full backlog.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(int(timeout_s), 0))
        connection.connect(f"/proc/self/fd/{folder}/{name}")
        connection.settimeout(timeout_s)
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(folder)
    return connection


def _exchange(
    connection: socket.socket,
    request: Request,
    secret: bytearray | None,
    timeout_s: float = ANSWER_TIMEOUT_S,
) -> Answer:
    line = bytearray()
    try:
        connection.sendall(protocol.encode_request(request))
        if secret:
            connection.sendall(secret)
        connection.settimeout(timeout_s)
        while not line.endswith(b"\n"):
            piece = connection.recv(65536)
            if not piece or len(line) > protocol.MAX_ANSWER_BYTES:
                raise ControlError("the mount daemon ended without an answer")
            line += piece
    except OSError as error:
        raise ControlError("the mount daemon does not answer") from error
    answer = protocol.parse_answer(bytes(line[:-1]))
    if isinstance(answer, ErrorReport):
        raise ReportedError(answer)
    return answer
