"""Directories of more and more entries, files of more and more bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmark import clients, directory
from benchmark.cells import Part
from benchmark.systems import System
from benchmark.workloads import PIECE_BYTES, Plan, timed

_ENTRIES = (10, 100, 1_000, 10_000, 100_000)
_SMALLEST_BYTES, _STEP, _LARGEST_BYTES = 1 << 10, 16, 4 << 30
_TOGETHER_BYTES, _MOST_FILES = 4 << 20, 64
"""Of small files so many are written that the time can be measured."""

_STEPS: dict[str, Callable[[System, Plan], float]] = {
    "create": directory.create,
    "list, cold": directory.list_cold,
    "list with attributes, cold": directory.status_cold,
    "remove": directory.remove,
}


def directories(largest: int) -> Part:
    """Up to that many entries in one directory."""
    sizes = [entries for entries in _ENTRIES if entries <= largest]
    return Part("directories", "entries", sizes, dict.fromkeys(_STEPS, "entries/s"), _directory)


def _directory(system: System, entries: int) -> Iterator[tuple[str, float]]:
    plan = Plan(0, Path(), entries)
    for name, step in _STEPS.items():
        yield name, step(system, plan)


def files(largest_bytes: int) -> Part:
    """Files of up to that many bytes; the largest is that or 4 GiB."""
    largest_bytes = min(largest_bytes, _LARGEST_BYTES)
    sizes, size = [], _SMALLEST_BYTES
    while size < largest_bytes:
        sizes.append(size)
        size *= _STEP
    sizes.append(largest_bytes)
    units = {"write + fsync": "MB/s", "read, cold": "MB/s"}
    return Part("files", "bytes", sizes, units, _file, space_bytes=lambda size: size)


def _file(system: System, size: int) -> Iterator[tuple[str, float]]:
    count = max(1, min(_MOST_FILES, _TOGETHER_BYTES // size))
    paths = [system.mountpoint / f"file {number}" for number in range(count)]
    piece = os.urandom(min(size, PIECE_BYTES))
    buffer = bytearray(PIECE_BYTES)

    def write() -> None:
        for path in paths:
            with path.open("wb", buffering=0) as file:
                left = size
                while left:
                    left -= file.write(piece[:left])
                os.fsync(file.fileno())

    def read() -> None:
        for path in paths:
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

    yield "write + fsync", count * size / 1e6 / timed(system, write)
    system.remount()
    yield "read, cold", count * size / 1e6 / timed(system, read)
    for path in paths:
        path.unlink()


def concurrent() -> Part:
    """Several programs at once."""
    return Part(
        "clients",
        "clients",
        clients.COUNTS,
        clients.UNITS,
        clients.measure,
        prepare=clients.prepare,
        grows=False,
    )
