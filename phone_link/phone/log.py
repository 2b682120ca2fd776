"""STORE/log.jsonl: what was asked of this phone and what became of it, one JSON object a line."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from phone_link.phone.clock import utc_now
from phone_link.phone.display import printable

LOG_FILE = "log.jsonl"
OLD_LOG_FILE = "log.jsonl.1"
MAX_LOG_BYTES = 1 << 20
MAX_READABLE = 400


class Event(StrEnum):
    """What happened."""

    INIT = "init"
    PAIRED = "paired"
    PAIRING_REFUSED = "pairing refused"
    FORGOTTEN = "forgotten"
    LOGIN = "login"
    LOGOUT = "logout"
    WRONG_PIN = "wrong pin"
    PIN_BLOCKED = "pin blocked"
    PIN_CHANGED = "pin changed"
    UNLOCK = "unlock"
    REFUSED = "refused"
    FAILED = "failed"
    KEY_MADE = "key made"
    LOCK = "lock"
    LOCK_ENDED = "lock ended"
    HEADER_NEW = "vault seen first"
    HEADER_REFUSED = "header refused"
    HEADER_ACCEPTED = "header accepted"
    HEADER_FORGOTTEN = "vault forgotten"


@dataclass(frozen=True)
class LogEntry:
    """One line of the log.

    Attributes:
        event: what happened.
        computer: name of the computer it was for, empty if none.
        reason: what the computer said it is for (made printable).
        detail: how it was decided, or what went wrong.
        key: id of the key in hex, empty if none.
        time: UTC.
    """

    event: Event
    computer: str = ""
    reason: str = ""
    detail: str = ""
    key: str = ""
    time: str = field(default_factory=utc_now)

    def encode(self) -> bytes:
        """Return the line; empty members are left out."""
        members = {name: value for name, value in asdict(self).items() if value}
        return json.dumps(members, separators=(",", ":")).encode("ascii") + b"\n"

    def readable(self) -> str:
        """Return the line for people, without the time."""
        return readable(asdict(self))


def readable(entry: Mapping[str, str]) -> str:
    """Return an entry for people, without the time and without unprintable characters."""
    text = entry.get("event", "?")
    if entry.get("computer"):
        text += f" {'with' if text == Event.PAIRED else 'for'} {entry['computer']}"
    tail = ", ".join(entry[name] for name in ("reason", "detail") if entry.get(name))
    return printable(f"{text}: {tail}" if tail else text, MAX_READABLE)


class UnlockLog:
    """Appends to and reads the log; at 1 MiB the file becomes `log.jsonl.1` and the one before is dropped."""

    def __init__(self, store_path: Path) -> None:
        self._path = store_path / LOG_FILE
        self._old = store_path / OLD_LOG_FILE

    def append(self, entry: LogEntry) -> None:
        """Write one entry durably. Raises `OSError`."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._end_torn_line(descriptor)
            os.write(descriptor, entry.encode())
            os.fsync(descriptor)
            if os.fstat(descriptor).st_size >= MAX_LOG_BYTES:
                os.rename(self._path, self._old)
        finally:
            os.close(descriptor)

    @staticmethod
    def _end_torn_line(descriptor: int) -> None:
        """Begin a new line if a crash cut the last one."""
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            os.write(descriptor, b"\n")

    def read(self) -> list[dict[str, str]]:
        """Return all entries, oldest first; lines cut by a crash are left out."""
        entries: list[dict[str, str]] = []
        for path in (self._old, self._path):
            try:
                lines = path.read_bytes().splitlines()
            except FileNotFoundError:
                continue
            for line in lines:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict):
                    entries.append({str(name): str(value) for name, value in entry.items()})
        return entries
