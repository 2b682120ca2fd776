"""Opens ciphertext that is ours, whatever its mode: the kernel has checked the caller's right against the mode already."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def open_however(stored: str, flags: int, directory_fd: int) -> int:
    """Open a file or directory of ours whose mode does not let us.

    A handle for writing needs reading too (a part of a block is merged), and the kernel may read through a write-only handle.
    """
    try:
        return os.open(stored, flags, dir_fd=directory_fd)
    except PermissionError:
        with _made_accessible(stored, directory_fd) as reopen:
            return reopen(flags)


@contextmanager
def _made_accessible(stored: str, directory_fd: int) -> Iterator[Callable[[int], int]]:
    path_fd = os.open(stored, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)
    name = f"/proc/self/fd/{path_fd}"
    status = os.fstat(path_fd)
    mode = stat.S_IMODE(status.st_mode)
    enter = stat.S_IXUSR if stat.S_ISDIR(status.st_mode) else 0
    try:
        os.chmod(name, mode | stat.S_IRUSR | stat.S_IWUSR | enter)
        yield lambda flags: os.open(name, flags & ~os.O_NOFOLLOW)
    finally:
        with contextlib.suppress(OSError):
            os.chmod(name, mode)
        os.close(path_fd)
