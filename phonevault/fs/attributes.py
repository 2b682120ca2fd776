"""From a ciphertext object's status to the attributes the kernel is told."""

from __future__ import annotations

import os
import stat

from phonevault.fs.format.layout import Layout
from phonevault.fs.format.links import target_size
from phonevault.fuse import abi

_BILLION = 1_000_000_000
_KIND = 0o170000
_NO_ATTRIBUTES = bytes(abi.ATTR.size)


def plain_size(status: os.stat_result, layout: Layout) -> int:
    """Size of the plaintext, in bytes, from stat alone."""
    kind, size = status.st_mode & _KIND, status.st_size
    if kind == stat.S_IFREG:
        return layout.plain_size(size)
    return target_size(size) if kind == stat.S_IFLNK else size


def pack(status: os.stat_result, layout: Layout) -> bytes:
    """``fuse_attr``."""
    atime_s, atime_ns = divmod(status.st_atime_ns, _BILLION)
    mtime_s, mtime_ns = divmod(status.st_mtime_ns, _BILLION)
    ctime_s, ctime_ns = divmod(status.st_ctime_ns, _BILLION)
    rdev = status.st_rdev
    return abi.ATTR.pack(
        status.st_ino, plain_size(status, layout), status.st_blocks,
        atime_s, mtime_s, ctime_s, atime_ns, mtime_ns, ctime_ns,
        status.st_mode, status.st_nlink, status.st_uid, status.st_gid, _kernel_device(rdev) if rdev else 0,
        4096, 0,
    )  # fmt: skip


def entry_out(node_id: int, timeout_s: int, attributes: bytes) -> bytes:
    """``fuse_entry_out``; the timeout is for the name and the attributes."""
    return abi.ENTRY_OUT.pack(node_id, 0, timeout_s, timeout_s, 0, 0) + attributes


def attr_out(timeout_s: int, attributes: bytes) -> bytes:
    """``fuse_attr_out``."""
    return abi.ATTR_OUT.pack(timeout_s, 0, 0) + attributes


def negative_entry(timeout_s: int) -> bytes:
    """``fuse_entry_out`` that says: there is no such name, and the kernel may remember that."""
    return abi.ENTRY_OUT.pack(0, 0, timeout_s, 0, 0, 0) + _NO_ATTRIBUTES


def device_from_kernel(device: int) -> int:
    """``new_decode_dev`` of the kernel's 32-bit device numbers, as glibc's dev_t."""
    return os.makedev((device & 0xFFF00) >> 8, (device & 0xFF) | ((device >> 12) & 0xFFF00))


def _kernel_device(device: int) -> int:
    major, minor = os.major(device), os.minor(device)
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
