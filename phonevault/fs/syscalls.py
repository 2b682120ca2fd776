"""System calls that Python's os module does not offer."""

from __future__ import annotations

import ctypes
import errno
import os

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

_libc = ctypes.CDLL(None, use_errno=True)


def rename(source_fd: int, source: str, target_fd: int, target: str, flags: int) -> None:
    """renameat2(2).

    Raises:
        OSError: as the system call; EINVAL where the file system knows no such flag.
    """
    if not flags:
        os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)
        return
    if _libc.renameat2(source_fd, os.fsencode(source), target_fd, os.fsencode(target), flags):
        number = ctypes.get_errno() or errno.EIO
        raise OSError(number, os.strerror(number))
