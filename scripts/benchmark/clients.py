"""Several programs that use one folder at once: processes that start together."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmark.systems import System
from benchmark.workloads import PIECE_BYTES, timed

COUNTS = (1, 2, 4, 8)
UNITS = {
    "random read, 4 KiB, cold": "op/s",
    "create and read, 4 KiB": "files/s",
    "sequential read, cold": "MB/s",
}
RANDOM_MIB, STREAM_MIB = 64, 16
READS, FILES = 4_000, 240
"""Of all clients together."""
_BLOCK_BYTES = 4096
_BLOCK = os.urandom(_BLOCK_BYTES)


def prepare(system: System) -> None:
    """A file for random reads, and one for each client to read from end to end."""
    piece = os.urandom(PIECE_BYTES)
    sizes = {"random": RANDOM_MIB} | {f"stream{number}": STREAM_MIB for number in range(max(COUNTS))}
    for name, mib in sizes.items():
        with (system.mountpoint / name).open("wb", buffering=0) as file:
            for _ in range(mib):
                file.write(piece)


def measure(system: System, clients: int) -> Iterator[tuple[str, float]]:
    """What all of them do together, a second."""
    folder, names = system.mountpoint, iter(UNITS)
    system.remount()
    yield next(names), READS / timed(system, at_once(clients, lambda number: _read(folder, clients, number)))
    for number in range(clients):
        (folder / f"client{number}").mkdir()
    files = FILES // clients
    seconds = timed(system, at_once(clients, lambda number: _create(folder / f"client{number}", files)))
    yield next(names), files * clients / seconds
    _clean(folder, clients)
    system.remount()
    seconds = timed(system, at_once(clients, lambda number: _stream(folder / f"stream{number}")))
    yield next(names), clients * STREAM_MIB * PIECE_BYTES / 1e6 / seconds


def at_once(clients: int, work: Callable[[int], None]) -> Callable[[], None]:
    """Processes that have been started and wait; called, it lets them go and returns when all are done.

    Raises:
        SystemExit: (when called) one of them failed.
    """
    reader, writer = os.pipe()
    children = [_child(number, work, reader, writer) for number in range(clients)]
    os.close(reader)

    def go() -> None:
        os.close(writer)
        left = list(children)
        try:
            while left:
                _, status = os.waitpid(left[0], 0)
                left.pop(0)
                if status != 0:
                    raise SystemExit("error: a client of the benchmark failed")
        finally:
            for child in left:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)

    return go


def _child(number: int, work: Callable[[int], None], reader: int, writer: int) -> int:
    parent, child = os.getpid(), os.fork()
    if child:
        return child
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        os.close(writer)
        os.read(reader, 1)  # its end: every writer is closed
        if os.getppid() == parent:  # or it ended without letting anybody go
            work(number)
            code = 0
    finally:
        os._exit(code)


def _read(folder: Path, clients: int, number: int) -> None:
    """A share of the same blocks, whatever the number of clients: no block twice."""
    blocks = RANDOM_MIB * PIECE_BYTES // _BLOCK_BYTES
    places = random.Random(1).sample(range(blocks), READS)[number::clients]
    file = os.open(folder / "random", os.O_RDONLY)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
    for place in places:
        os.pread(file, _BLOCK_BYTES, place * _BLOCK_BYTES)


def _create(folder: Path, files: int) -> None:
    for number in range(files):
        path = folder / f"file {number}"
        path.write_bytes(_BLOCK)
        if path.read_bytes() != _BLOCK:
            raise SystemExit("error: a file was read back otherwise than it was written")


def _stream(path: Path) -> None:
    buffer = bytearray(PIECE_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def _clean(folder: Path, clients: int) -> None:
    for number in range(clients):
        for path in list((folder / f"client{number}").iterdir()):
            path.unlink()
        (folder / f"client{number}").rmdir()
