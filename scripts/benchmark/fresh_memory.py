"""Memory that this machine has never used: a virtual machine's host gives it page by page, several times as slowly as it is used again."""

from __future__ import annotations

import mmap
from pathlib import Path

from benchmark import daemons
from phonevault.kdf_cost import cgroup_limits

_PIECE_BYTES = 1 << 30
_SHARE = 0.8
_FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE


def use_up() -> None:
    """Touch most of the free memory once, and let it go: whoever is measured first then pays no more than the others."""
    free = daemons.field(Path("/proc/meminfo"), "MemFree") * 1024
    most = int(min([free, *(limit // 2 for limit in cgroup_limits())]) * _SHARE)
    for piece in [mmap.mmap(-1, _PIECE_BYTES, flags=_FLAGS) for _ in range(most // _PIECE_BYTES)]:
        piece.close()
