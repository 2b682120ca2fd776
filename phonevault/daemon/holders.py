"""Which processes hold something open below a mount point.

Read from the links in /proc (proc_pid_fd(5)): readlink(2) there gives the path from the kernel's own tables,
the mount itself is not asked, so this works on a frozen or locked mount. Other users' processes are seen by
root only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAX_PATHS = 8
MAX_HOLDERS = 64


@dataclass
class Holder:
    """A process that keeps a mount busy.

    Attributes:
        pid: Process id.
        command: Its short name (proc_pid_comm(5)).
        paths: What it has open, as its working directory or mapped, at most `MAX_PATHS` of them.
    """

    pid: int
    command: str
    paths: list[str] = field(default_factory=list)


def holders_of(mountpoint: str, proc: Path = Path("/proc")) -> list[Holder]:
    """Return the processes with open files, a working directory, root or program below a mount point.

    Args:
        mountpoint: Canonical path.
        proc: Where the proc file system is.
    """
    found = []
    for pid in _processes(proc):
        paths = sorted({path for path in _links(proc / str(pid)) if _is_below(path, mountpoint)})
        if paths:
            found.append(Holder(pid, _command(proc / str(pid)), paths[:MAX_PATHS]))
        if len(found) >= MAX_HOLDERS:
            break
    return found


def _processes(proc: Path) -> list[int]:
    return sorted(int(name) for name in os.listdir(proc) if name.isdecimal() and int(name) != os.getpid())


def _links(process: Path) -> Iterator[str]:
    """Yield the targets of a process's links; what ends meanwhile or is not ours to see is left out."""
    names = [process / "cwd", process / "root", process / "exe"]
    for folder in ("fd", "map_files"):
        try:
            names += [process / folder / name for name in os.listdir(process / folder)]
        except OSError:
            continue
    for name in names:
        try:
            yield os.readlink(name)
        except OSError:
            continue


def _is_below(path: str, mountpoint: str) -> bool:
    return path == mountpoint or path.startswith(mountpoint.rstrip("/") + "/")


def _command(process: Path) -> str:
    try:
        raw = (process / "comm").read_bytes()
    except OSError:
        return "?"
    text = raw.decode("utf-8", "replace").strip()
    return "".join(char if char.isprintable() else "?" for char in text) or "?"
