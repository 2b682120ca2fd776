"""Opens ciphertext that is ours, whatever its mode: the kernel has checked the caller's right against the mode already."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager

mode_changes = threading.RLock()
"""Held by whoever reads a mode to change it or to put it back: no change is lost to another thread's. Taken after a node table's lock."""


def open_however(stored: str, flags: int, directory_fd: int) -> int:
    """Open a file or directory of ours whose mode does not let us.

    A handle for writing needs reading too (a part of a block is merged), and the kernel may read through a write-only handle.
    """
    try:
        return os.open(stored, flags, dir_fd=directory_fd)
    except PermissionError:
        pass
    path_fd = os.open(stored, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)
    try:
        name = f"/proc/self/fd/{path_fd}"
        with made_accessible(name):
            return os.open(name, flags & ~os.O_NOFOLLOW)
    finally:
        os.close(path_fd)


def open_in(directory_fd: int, stored: str, flags: int) -> int:
    """The same where the directory may be closed to us, too."""
    try:
        return open_however(stored, flags, directory_fd)
    except PermissionError:
        with made_accessible(f"/proc/self/fd/{directory_fd}"):
            return open_however(stored, flags, directory_fd)


def status_in(directory_fd: int, stored: str) -> os.stat_result:
    """Status of an entry, also where the directory may be closed to us; a link is not followed."""
    try:
        return os.stat(stored, dir_fd=directory_fd, follow_symlinks=False)
    except PermissionError:
        with made_accessible(f"/proc/self/fd/{directory_fd}"):
            return os.stat(stored, dir_fd=directory_fd, follow_symlinks=False)


@contextmanager
def made_accessible(ciphertext: int | str) -> Iterator[None]:
    """The owner may read, write and enter it while the body runs.

    Args:
        ciphertext: an open descriptor, or the path in /proc of an O_PATH one.
    """
    with mode_changes:
        status = os.stat(ciphertext)
        mode = stat.S_IMODE(status.st_mode)
        enter = stat.S_IXUSR if stat.S_ISDIR(status.st_mode) else 0
        os.chmod(ciphertext, mode | stat.S_IRUSR | stat.S_IWUSR | enter)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.chmod(ciphertext, mode)
