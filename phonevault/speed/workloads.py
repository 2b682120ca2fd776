"""What is done in a folder to see how fast it is: each a short, bounded piece of work that returns a rate."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PIECE_BYTES = 1 << 20
SYNC_EVERY_BYTES = 8 << 20
SMALL_BYTES = 4096
MOST_SMALL_FILES = 300
SLICE_S = 0.6
_STREAM = "stream"


@dataclass(frozen=True)
class Place:
    """A folder to work in.

    Attributes:
        directory: An empty directory at first.
        stores: Where its bytes lie in the end: the directory itself, or the ciphertext of it.
        stream_bytes: How large the one large file may get.
    """

    directory: Path
    stores: tuple[Path, ...]
    stream_bytes: int


@dataclass(frozen=True)
class Workload:
    """A measurement; `measure` returns so many of `unit`."""

    name: str
    unit: str
    measure: Callable[[Place], float]


def write_stream(place: Place) -> float:
    """Pieces of 1 MiB, fsync(2) after every 8 MiB and at the end; ends early on a slow disk."""
    piece, done = os.urandom(PIECE_BYTES), 0
    with _opened(place.directory / _STREAM, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
        began_s = time.perf_counter()
        while done < place.stream_bytes and (done == 0 or time.perf_counter() - began_s < 2 * SLICE_S):
            done += os.write(fd, piece)
            if done % SYNC_EVERY_BYTES == 0:
                os.fsync(fd)
        os.fsync(fd)
        return done / 1e6 / (time.perf_counter() - began_s)


def read_stream(place: Place) -> float:
    """From the beginning in pieces of 1 MiB, after the kernel was told to forget the file's pages."""
    forget_pages(place)
    buffer, done = memoryview(bytearray(PIECE_BYTES)), 0
    with _opened(place.directory / _STREAM, os.O_RDONLY) as fd:
        began_s = time.perf_counter()
        while (count := os.readv(fd, [buffer])) and time.perf_counter() - began_s < 2 * SLICE_S:
            done += count
        return max(done, count) / 1e6 / (time.perf_counter() - began_s)


def read_randomly(place: Place) -> float:
    """4 KiB at random offsets, pages forgotten before, no read-ahead."""
    forget_pages(place)
    with _opened(place.directory / _STREAM, os.O_RDONLY) as fd:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        return _for_a_while(lambda offset: os.pread(fd, SMALL_BYTES, offset), _offsets(fd))


def write_randomly(place: Place) -> float:
    """4 KiB at random offsets of the large file, one fsync(2) at the end, which counts."""
    data = os.urandom(SMALL_BYTES)
    with _opened(place.directory / _STREAM, os.O_WRONLY) as fd:
        began_s = time.perf_counter()
        rate = _for_a_while(lambda offset: os.pwrite(fd, data, offset), _offsets(fd))
        writing_s = time.perf_counter() - began_s
        os.fsync(fd)
        return rate * writing_s / (time.perf_counter() - began_s)


def make_small_files(place: Place) -> float:
    """Files of 4 KiB, not synced."""
    data = os.urandom(SMALL_BYTES)

    def make(number: int) -> None:
        with _opened(place.directory / f"small-{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
            os.write(fd, data)

    return _for_a_while(make, iter(range(MOST_SMALL_FILES)))


def read_small_files(place: Place) -> float:
    """Each found in the listing, its attributes asked for, read."""

    def read(name: str) -> None:
        path = place.directory / name
        path.stat()
        with _opened(path, os.O_RDONLY) as fd:
            os.read(fd, SMALL_BYTES)

    return _for_a_while(read, iter(_small(place)))


def remove_small_files(place: Place) -> float:
    """All of them."""
    names = _small(place)
    began_s = time.perf_counter()
    for name in names:
        (place.directory / name).unlink()
    return len(names) / (time.perf_counter() - began_s)


ALL = (  # in this order: each needs what the ones before it left
    Workload("sequential write + fsync", "MB/s", write_stream),
    Workload("sequential read, cold", "MB/s", read_stream),
    Workload("random 4 KiB reads, cold", "1/s", read_randomly),
    Workload("random 4 KiB writes + fsync", "1/s", write_randomly),
    Workload("small files made", "1/s", make_small_files),
    Workload("small files read", "1/s", read_small_files),
    Workload("small files removed", "1/s", remove_small_files),
)


def forget_pages(place: Place) -> None:
    """Tell the kernel to forget the large file's pages, above and below (posix_fadvise(2); a tmpfs cannot forget)."""
    for root in (place.directory, *place.stores):
        for directory, _, names in os.walk(root):
            for name in names:
                with _opened(Path(directory, name), os.O_RDONLY | os.O_NOFOLLOW) as fd:
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def _small(place: Place) -> list[str]:
    return [name for name in os.listdir(place.directory) if name != _STREAM]


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _offsets(fd: int) -> Iterator[int]:
    blocks = max(1, os.fstat(fd).st_size // SMALL_BYTES)
    while True:
        yield random.randrange(blocks) * SMALL_BYTES  # noqa: S311 - which block is read is no secret


def _for_a_while(action: Callable[..., object], items: Iterator[object]) -> float:
    """Do it with one item after the other until they end or the time is over; return how many a second."""
    count, began_s = 0, time.perf_counter()
    for item in items:
        action(item)
        count += 1
        if time.perf_counter() - began_s > SLICE_S:
            break
    return count / (time.perf_counter() - began_s)
