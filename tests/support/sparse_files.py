"""Sparse files for tests: how they are made, and where their data is."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

UNIT = 4096


def outcome(call: Callable[[], object]) -> object:
    try:
        return call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def pattern(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def extents(path: Path) -> list[tuple[int, int]]:
    """Data (offset, end) as SEEK_DATA and SEEK_HOLE tell it."""
    found, place = [], 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while place < size:
            try:
                start = os.lseek(file.fileno(), place, os.SEEK_DATA)
            except OSError as error:
                assert error.errno == errno.ENXIO
                break
            place = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            assert start < place <= size
            found.append((start, place))
    return found


def sparse(path: Path, pieces: list[tuple[int, int]], size: int) -> None:
    with path.open("wb") as file:
        for offset, length in pieces:
            file.seek(offset)
            file.write(pattern(length))
        file.truncate(size)


PIECES = [(0, 10), (1 << 20, 4096), ((2 << 20) + 5, 70_000), (5 << 20, 1), (9_000_000, 300_000)]
