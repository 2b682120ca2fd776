"""Memory that this machine has not used lately: a virtual machine's host gives it page by page, several times as slowly as other memory."""

from __future__ import annotations

import mmap
from pathlib import Path

from benchmark import daemons
from phonevault.kdf_cost import cgroup_limits

_PIECE_BYTES = 1 << 28
_SHARE = 0.8
_FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE


def use_up(bytes_wanted: int | None = None) -> None:
    """Touch free memory once, and let it go: who is measured next then pays no more for it than the others.

    Some hosts take free memory back within seconds (free page reporting). So a system that takes longer to mount would find less of what it
    has just let go.

    Args:
        bytes_wanted: how much, if there is as much; most of it, if omitted.
    """
    free = daemons.field(Path("/proc/meminfo"), "MemFree") * 1024
    most = int(min([free, *(limit // 2 for limit in cgroup_limits())]) * _SHARE)
    if bytes_wanted is not None:
        most = min(most, bytes_wanted)
    sizes = [min(_PIECE_BYTES, most - start) for start in range(0, most, _PIECE_BYTES)]
    for piece in [mmap.mmap(-1, size, flags=_FLAGS) for size in sizes]:
        piece.close()
