"""System calls that Python's os module does not offer."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
from struct import Struct

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
NO_SUCH_FLAG = (errno.EINVAL, errno.ENOSYS)
"""What renameat2(2) says where the backing store knows no flags (NFS)."""

FALLOC_KEEP_SIZE = 0x01
FALLOC_PUNCH_HOLE = 0x02
FALLOC_ZERO_RANGE = 0x10

AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
STATX_BTIME = 0x800

_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = getattr(_libc, "fallocate64", _libc.fallocate)
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_sync_file_range = getattr(_libc, "sync_file_range", None)
_statx = getattr(_libc, "statx", None)
_STATX_MASK = Struct("=I")
_STATX_BIRTH = Struct("=qI")
_STATX_BIRTH_AT = 80
_STATX_BYTES = 256
_OFFSET_MAX = (1 << 63) - 1
_SYNC_WAIT_WRITE_WAIT = 7
_FLAGS = Struct("@l")
_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS = 0x80086601, 0x40086602
_FS_NOCOW_FL = 0x00800000


_syncfs = _libc.syncfs
_syncfs.argtypes = [ctypes.c_int]


def syncfs(fd: int) -> None:
    """Wait until everything that was written to a file system is on stable storage.

    Args:
        fd: of any object on it, but not O_PATH.

    Raises:
        OSError: EIO.
    """
    if _syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


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


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """Reserve, punch or zero a range as Linux does; taken up again when a signal ends it early.

    Raises:
        OSError: as the system call; EFBIG beyond 2^63 bytes.
    """
    if offset + length > _OFFSET_MAX:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    while _fallocate(fd, mode, offset, length):
        number = ctypes.get_errno() or errno.EIO
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))


def birth_time(directory_fd: int, name: str, flags: int) -> int | None:
    """When an object was made, in nanoseconds since 1970; None where its file system does not keep that.

    Raises:
        OSError: as statx(2); ENOSYS where the C library has none.
    """
    if _statx is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    found = ctypes.create_string_buffer(_STATX_BYTES)
    if _statx(directory_fd, os.fsencode(name), flags, STATX_BTIME, found):
        number = ctypes.get_errno() or errno.EIO
        raise OSError(number, os.strerror(number))
    if not _STATX_MASK.unpack_from(found)[0] & STATX_BTIME:
        return None
    seconds, nanoseconds = _STATX_BIRTH.unpack_from(found, _STATX_BIRTH_AT)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def set_no_copy_on_write(fd: int) -> None:
    """Ask a copy-on-write file system (btrfs) to change this empty file in place; others have nothing to do."""
    with contextlib.suppress(OSError):
        (flags,) = _FLAGS.unpack(fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(_FLAGS.size)))
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, _FLAGS.pack(flags | _FS_NOCOW_FL))


def write_out(fd: int, length: int) -> None:
    """Write the first bytes of a file to the disk and wait until they are written: sync_file_range(2), else fdatasync(2).

    Raises:
        OSError: as the system call.
    """
    if _sync_file_range is not None:
        if not _sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(length), _SYNC_WAIT_WRITE_WAIT):
            return
        number = ctypes.get_errno() or errno.EIO
        if number not in (errno.ENOSYS, errno.EINVAL, errno.ESPIPE):
            raise OSError(number, os.strerror(number))
    os.fdatasync(fd)
