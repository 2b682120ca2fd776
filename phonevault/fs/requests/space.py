"""FALLOCATE, LSEEK, COPY_FILE_RANGE: a regular file's space."""

from __future__ import annotations

import errno
import os

from phonevault.fs.contents.copy_range import copy_range
from phonevault.fs.core import Core, contents_of
from phonevault.fs.requests.files import kill_suidgid
from phonevault.fs.syscalls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE
from phonevault.fuse import abi
from phonevault.fuse.request import FlushFirst, Request

_REPLY_MAX_BYTES = 1 << 30


class SpaceOperations:
    """Handlers over a :class:`Core`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def fallocate(self, request: Request) -> bytes:
        """FALLOCATE: reserve, make holes, zero.

        The kernel has written dirty pages of the range back. It refuses the modes that move data (collapse, insert), and
        so do we: each block is bound to its number.
        """
        _, offset, length, mode, _ = abi.FALLOCATE_IN.unpack_from(request.body)
        contents, keys = contents_of(self._core.nodes.get(request.nodeid)), self._core.keys
        end, scratch = offset + length, (request.cipher, request.plain)
        grow = not mode & FALLOC_KEEP_SIZE
        kind = mode & ~FALLOC_KEEP_SIZE
        if not kind:
            contents.reserve(keys, offset, end, *scratch, grow=grow)
        elif kind == FALLOC_PUNCH_HOLE and not grow:
            contents.punch(keys, offset, end, *scratch)
        elif kind == FALLOC_ZERO_RANGE:
            contents.zero(keys, offset, end, *scratch, grow=grow)
        else:
            raise OSError(errno.EOPNOTSUPP, "no such kind of allocation here")
        if request.uid:
            kill_suidgid(contents.fd)
        return b""

    def lseek(self, request: Request) -> bytes:
        """LSEEK: SEEK_DATA and SEEK_HOLE; the kernel does the others itself.

        Raises:
            FlushFirst: the kernel may hold data of the file that is not here yet, and it does not write it back for this
                request: answered now, that data would be a hole.
        """
        _, offset, whence, _ = abi.LSEEK_IN.unpack_from(request.body)
        node = self._core.nodes.get(request.nodeid)
        contents = contents_of(node)
        if whence not in (os.SEEK_DATA, os.SEEK_HOLE):
            raise OSError(errno.EINVAL, "not asked of a file system")
        if node.writers and not request.flushed:
            raise FlushFirst
        return abi.LSEEK_OUT.pack(contents.seek(self._core.keys, offset, whence))

    def copy_file_range(self, request: Request) -> bytes:
        """COPY_FILE_RANGE: the kernel has written both ranges back, and drops its pages of the target after it."""
        _, offset, target_id, _, target_offset, length, flags = abi.COPY_FILE_RANGE_IN.unpack_from(
            request.body
        )
        nodes = self._core.nodes
        source, target = contents_of(nodes.get(request.nodeid)), contents_of(nodes.get(target_id))
        length = min(length, _REPLY_MAX_BYTES)
        if flags or (source is target and abs(offset - target_offset) < length):
            raise OSError(errno.EINVAL, "a flag is unknown, or the ranges overlap")
        done = copy_range(
            self._core.keys, source, offset, target, target_offset, length, request.cipher, request.plain
        )
        if request.uid:
            kill_suidgid(target.fd)
        return abi.WRITE_OUT.pack(done, 0)
