"""Which phonevault mounts there are, read from /proc/self/mountinfo (proc_pid_mountinfo(5)).

Nothing here touches a mount: a frozen one would make the caller wait.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path

DEAD_TIMEOUT_S = 0.5
FILESYSTEM_TYPE = "fuse.phonevault"
_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True)
class MountEntry:
    """A phonevault mount of the mount table.

    Attributes:
        mountpoint: Canonical path.
        source: What the mount was given as its source: the vault's path.
        uid: The user whose daemon serves it (`user_id=`), or None if the table does not say.
    """

    mountpoint: str
    source: str
    uid: int | None


def phonevault_mounts(table: bytes | None = None) -> list[MountEntry]:
    """Return the phonevault mounts of this mount namespace, the latest of each place.

    Args:
        table: The contents of a mountinfo file; /proc/self/mountinfo if None.
    """
    if table is None:
        table = Path("/proc/self/mountinfo").read_bytes()
    latest: dict[str, MountEntry | None] = {}
    for line in table.splitlines():
        before, separator, after = line.partition(b" - ")
        fields, rest = before.split(b" "), after.split(b" ")
        if not separator or len(fields) < 6 or len(rest) < 3:
            continue
        place = _unescape(fields[4])
        is_ours = rest[0].decode("ascii", "replace") == FILESYSTEM_TYPE
        latest[place] = MountEntry(place, _unescape(rest[1]), _user_id(rest[2])) if is_ours else None
    return [entry for entry in latest.values() if entry is not None]


def canonical_mountpoint(path: str, known: set[str]) -> str:
    """Return the canonical form of a mount point without touching the mount if it can be helped.

    `os.path.realpath` would ask the mount's own daemon for the attributes of its root, which a frozen mount
    does not answer; so the path is compared with the known mount points before and after its parent alone is
    resolved.

    Args:
        path: As the user gave it.
        known: Canonical mount points.
    """
    absolute = os.path.abspath(path)
    if absolute in known:
        return absolute
    parent, name = os.path.split(absolute)
    resolved = os.path.join(os.path.realpath(parent), name) if name else absolute
    if resolved in known:
        return resolved
    return os.path.realpath(resolved)


def is_dead(mountpoint: str) -> bool:
    """Return whether the kernel says that nobody serves a mount any more (ENOTCONN).

    A living mount that is frozen does not answer at all; so the question is put in a thread and given up soon.
    The question is statfs(2): the kernel answers stat(2) from its cache, also after the daemon's end.
    """
    answer: list[int] = []

    def ask() -> None:
        try:
            os.statvfs(mountpoint)
        except OSError as error:
            answer.append(error.errno or 0)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(DEAD_TIMEOUT_S)
    return answer in ([errno.ENOTCONN], [errno.ECONNABORTED])


def _unescape(field: bytes) -> str:
    """Undo the octal escapes of blank, tab, line feed and backslash."""
    return os.fsdecode(_ESCAPE.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), field))


def _user_id(options: bytes) -> int | None:
    for option in options.split(b","):
        name, _, value = option.partition(b"=")
        if name == b"user_id" and value.isdigit():
            return int(value)
    return None
