"""STATX (protocol 7.39): what GETATTR tells, and when an object was made. The kernel asks only if a program wants to know that."""

from __future__ import annotations

import os

from phonevault.fs import attributes
from phonevault.fs.core import Core
from phonevault.fs.syscalls import AT_EMPTY_PATH, STATX_BTIME, birth_time
from phonevault.fuse import abi
from phonevault.fuse.request import Request

_BLOCK_BYTES = 4096
_BILLION = 1_000_000_000


class StatxOperations:
    """Handlers over a :class:`Core`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def statx(self, request: Request) -> bytes:
        """STATX.

        Raises:
            OSError: ENOSYS on a system without statx(2); the kernel then asks no more.
        """
        core = self._core
        node = core.nodes.get(request.nodeid)
        with core.held(node) as fd:
            status, born = os.fstat(fd), birth_time(fd, "", AT_EMPTY_PATH)
        times = (status.st_atime_ns, born or 0, status.st_ctime_ns, status.st_mtime_ns)
        mask = abi.STATX_BASIC_STATS | (0 if born is None else STATX_BTIME)
        return abi.STATX_OUT.pack(core.timeout_s, 0, 0) + abi.STATX.pack(
            mask, _BLOCK_BYTES, 0, status.st_nlink, status.st_uid, status.st_gid, status.st_mode, status.st_ino,
            attributes.plain_size(status, core.layout), status.st_blocks, 0,
            *(part for time in times for part in divmod(time, _BILLION)),
            os.major(status.st_rdev), os.minor(status.st_rdev), 0, 0,
        )  # fmt: skip
