"""Structures and constants of the FUSE kernel protocol, named as in ``linux/fuse.h``.

Byte order and alignment are the machine's own; every structure is padded to 64 bits by the kernel's header, so ``=`` layouts match it.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

KERNEL_VERSION = 7
KERNEL_MINOR_VERSION = 38
"""The newest minor version whose structures are written down here; the kernel speaks the smaller of the two."""
OLDEST_MINOR_VERSION = 31
ROOT_ID = 1
PAGE_BYTES = 4096


class Opcode(IntEnum):
    """``enum fuse_opcode``."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    IOCTL = 39
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46
    COPY_FILE_RANGE = 47
    TMPFILE = 51
    STATX = 52


class Notify(IntEnum):
    """``enum fuse_notify_code``: messages the file system sends on its own."""

    INVAL_INODE = 2
    INVAL_ENTRY = 3
    INC_EPOCH = 8
    """Since protocol 7.44: every name the kernel has cached is out of date."""


class Init:
    """Feature flags of ``FUSE_INIT``."""

    ASYNC_READ = 1 << 0
    ATOMIC_O_TRUNC = 1 << 3
    BIG_WRITES = 1 << 5
    DONT_MASK = 1 << 6
    AUTO_INVAL_DATA = 1 << 12
    DO_READDIRPLUS = 1 << 13
    ASYNC_DIO = 1 << 15
    WRITEBACK_CACHE = 1 << 16
    PARALLEL_DIROPS = 1 << 18
    POSIX_ACL = 1 << 20
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23
    HANDLE_KILLPRIV_V2 = 1 << 28
    SETXATTR_EXT = 1 << 29


class SetAttr:
    """``FATTR_*``: which members of ``fuse_setattr_in`` count."""

    MODE = 1 << 0
    UID = 1 << 1
    GID = 1 << 2
    SIZE = 1 << 3
    ATIME = 1 << 4
    MTIME = 1 << 5
    FH = 1 << 6
    ATIME_NOW = 1 << 7
    MTIME_NOW = 1 << 8
    CTIME = 1 << 10
    KILL_SUIDGID = 1 << 11


FOPEN_DIRECT_IO = 1 << 0
FOPEN_KEEP_CACHE = 1 << 1
FOPEN_CACHE_DIR = 1 << 3
OPEN_KILL_SUIDGID = 1 << 0
WRITE_KILL_SUIDGID = 1 << 2
FSYNC_FDATASYNC = 1 << 0
SETXATTR_ACL_KILL_SGID = 1 << 0

IN_HEADER = Struct("=IIQQIIIHH")
"""len, opcode, unique, nodeid, uid, gid, pid, total_extlen, padding."""
OUT_HEADER = Struct("=IiQ")
"""len, error, unique."""
ATTR = Struct("=QQQqqqIIIIIIIIII")
"""ino, size, blocks, atime, mtime, ctime (signed), their nanoseconds, mode, nlink, uid, gid, rdev, blksize, flags."""
ENTRY_OUT = Struct("=QQQQII")
"""nodeid, generation, entry_valid, attr_valid, entry_valid_nsec, attr_valid_nsec; the attributes follow (ATTR)."""
ENTRY_OUT_BYTES = ENTRY_OUT.size + ATTR.size
ATTR_OUT = Struct("=QII")
"""attr_valid, attr_valid_nsec, dummy; the attributes follow (ATTR)."""
INIT_IN = Struct("=IIII")
"""major, minor, max_readahead, flags (flags2 and the unused rest follow)."""
INIT_OUT = Struct("=IIIIHHIIHHI28x")
"""major, minor, max_readahead, flags, max_background, congestion_threshold, max_write, time_gran, max_pages,
map_alignment, flags2."""
FORGET_IN = Struct("=Q")
BATCH_FORGET_IN = Struct("=II")
FORGET_ONE = Struct("=QQ")
GETATTR_IN = Struct("=IIQ")
SETATTR_IN = Struct("=IIQQQQQQIIIIIIII")
"""valid, padding, fh, size, lock_owner, atime, mtime, ctime, their nanoseconds, mode, unused4, uid, gid, unused5."""
MKNOD_IN = Struct("=IIII")
"""mode, rdev, umask, padding."""
MKDIR_IN = Struct("=II")
"""mode, umask."""
RENAME_IN = Struct("=Q")
RENAME2_IN = Struct("=QII")
LINK_IN = Struct("=Q")
OPEN_IN = Struct("=II")
"""flags, open_flags."""
CREATE_IN = Struct("=IIII")
"""flags, mode, umask, open_flags."""
OPEN_OUT = Struct("=QII")
"""fh, open_flags, padding."""
RELEASE_IN = Struct("=QIIQ")
READ_IN = Struct("=QQIIQII")
"""fh, offset, size, read_flags, lock_owner, flags, padding."""
WRITE_IN = READ_IN
WRITE_OUT = Struct("=II")
FSYNC_IN = Struct("=QII")
SETXATTR_IN = Struct("=IIII")
"""size, flags, setxattr_flags, padding; the name and the value follow."""
SETXATTR_IN_SHORT = Struct("=II")
"""FUSE_COMPAT_SETXATTR_IN_SIZE: size, flags, where SETXATTR_EXT was not agreed on."""
GETXATTR_IN = Struct("=II")
"""size, padding (LISTXATTR too); the name follows."""
GETXATTR_OUT = Struct("=II")
"""size, padding: the answer to a request of size 0."""
FALLOCATE_IN = Struct("=QQQII")
"""fh, offset, length, mode, padding."""
LSEEK_IN = Struct("=QQII")
"""fh, offset, whence, padding."""
LSEEK_OUT = Struct("=Q")
COPY_FILE_RANGE_IN = Struct("=QQQQQQQ")
"""fh_in, off_in, nodeid_out, fh_out, off_out, len, flags."""
STATX_BASIC_STATS = 0x7FF
STATX_OUT = Struct("=QII16x")
"""attr_valid, attr_valid_nsec, flags, spare."""
STATX = Struct("=IIQIIIHxxQQQQqI4xqI4xqI4xqI4xIIII112x")
"""mask, blksize, attributes, nlink, uid, gid, mode, ino, size, blocks, attributes_mask; atime, btime, ctime and mtime in
seconds and nanoseconds; rdev and dev, major and minor."""
STATFS_OUT = Struct("=QQQQQIIII24x")
"""blocks, bfree, bavail, files, ffree, bsize, namelen, frsize, padding."""
INTERRUPT_IN = Struct("=Q")
DIRENT = Struct("=QQII")
"""ino, off, namelen, type; the name follows, padded to 8 bytes."""
NOTIFY_INVAL_INODE = Struct("=Qqq")
NOTIFY_INVAL_ENTRY = Struct("=QII")


def name_of(body: memoryview) -> bytes:
    """The NUL-terminated name that fills ``body``.

    Raises:
        ValueError: the kernel's message has no terminated name (never seen from a real kernel).
    """
    raw = bytes(body)
    end = raw.index(0)
    return raw[:end]


def two_names_of(body: memoryview) -> tuple[bytes, bytes]:
    """The two NUL-terminated names that fill ``body`` (RENAME, SYMLINK)."""
    first, second, _ = bytes(body).split(b"\0", 2)
    return first, second
