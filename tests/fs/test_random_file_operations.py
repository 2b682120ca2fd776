"""Random operations on one file of a mount and on a plain file at once: contents, sizes and errors must stay the same."""

from __future__ import annotations

import errno
import mmap
import os
import random
from pathlib import Path

import pytest
from support.mounted_tree import MountedTree, mounted_tree

from phonevault.fs.syscalls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, fallocate

pytestmark = pytest.mark.mount

MAX_BYTES = 400_000
PUNCH = FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE
BORDERS = [0, 1, 4095, 4096, 4097, 8192, 65_536, 65_535, 131_072]


class Pair:
    """The same file on the mount and beside it."""

    def __init__(self, mount: MountedTree, plain: Path, seed: int) -> None:
        self.mount = mount
        self.paths = [plain / "f", mount.path / "f"]
        self.random = random.Random(seed)
        for path in self.paths:
            path.touch()
        self.fds: list[int] = []
        self.open()

    def open(self) -> None:
        self.fds = [os.open(path, os.O_RDWR) for path in self.paths]

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)

    def place(self) -> int:
        if self.random.random() < 0.3:
            return self.random.choice(BORDERS) + 65_536 * self.random.randrange(4)
        return self.random.randrange(MAX_BYTES)

    def length(self) -> int:
        return self.random.choice(
            [1, 10, 4096, self.random.randrange(1, 9000), self.random.randrange(1, 100_000)]
        )

    # -- operations ---------------------------------------------------------------------------------------

    def both(self, step: str) -> None:
        offset, other, length = self.place(), self.place(), self.length()
        data = self.random.randbytes(length)
        results = [getattr(self, "do_" + step)(fd, offset, other, data) for fd in self.fds]
        assert results[0] == results[1], (step, offset, other, length)

    def do_write(self, fd: int, offset: int, other: int, data: bytes) -> object:
        del other
        return os.pwrite(fd, data, offset)

    def do_read(self, fd: int, offset: int, other: int, data: bytes) -> object:
        del other
        return os.pread(fd, len(data), offset)

    def do_truncate(self, fd: int, offset: int, other: int, data: bytes) -> object:
        del other, data
        return os.ftruncate(fd, offset)

    def do_reserve(self, fd: int, offset: int, other: int, data: bytes) -> object:
        return fallocate(fd, FALLOC_KEEP_SIZE * (other % 2), offset, len(data))

    def do_punch(self, fd: int, offset: int, other: int, data: bytes) -> object:
        del other
        return fallocate(fd, PUNCH, offset, len(data))

    def do_zero(self, fd: int, offset: int, other: int, data: bytes) -> object:
        keep = FALLOC_KEEP_SIZE * (other % 2)
        try:
            fallocate(fd, FALLOC_ZERO_RANGE | keep, offset, len(data))
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP or fd != self.fds[0]:
                raise
            size = os.fstat(fd).st_size
            os.pwrite(fd, bytes(len(data)), offset)
            if keep:
                os.ftruncate(fd, max(size, 0))

    def do_copy(self, fd: int, offset: int, other: int, data: bytes) -> object:
        try:
            return os.copy_file_range(fd, fd, len(data), offset, other)
        except OSError as error:
            return error.errno

    def do_map(self, fd: int, offset: int, other: int, data: bytes) -> object:
        size = os.fstat(fd).st_size
        if not size:
            return None
        with mmap.mmap(fd, 0) as mapping:
            begin = offset % size
            data = data[: size - begin]
            mapping[begin : begin + len(data)] = data
            if other % 2:
                mapping.flush()
            return mapping[other % size : other % size + 100]

    def do_data(self, fd: int, offset: int, other: int, data: bytes) -> object:
        """What SEEK_HOLE calls a hole is one; where it lies may differ from a plain file."""
        del other, data
        size = os.fstat(fd).st_size
        try:
            hole = os.lseek(fd, offset, os.SEEK_HOLE)
        except OSError as error:
            assert error.errno == errno.ENXIO
            return size <= offset
        if hole < size:
            try:
                end = os.lseek(fd, hole, os.SEEK_DATA)
            except OSError as error:
                assert error.errno == errno.ENXIO
                end = size
            assert os.pread(fd, end - hole, hole) == bytes(end - hole)
        return size <= offset

    def do_sync(self, fd: int, offset: int, other: int, data: bytes) -> object:
        del offset, other, data
        return os.fsync(fd)

    # -- between ------------------------------------------------------------------------------------------

    def again(self) -> None:
        """Close and open; now and then after a remount or a lock."""
        way = self.random.randrange(4)
        if way == 0:
            self.mount.tell("lock")
            self.mount.tell("unlock")
            return
        self.close()
        if way == 1:
            self.mount.remount()
        self.open()

    def compare(self) -> None:
        sizes = [os.fstat(fd).st_size for fd in self.fds]
        assert sizes[0] == sizes[1]
        assert os.pread(self.fds[0], sizes[0] + 1, 0) == os.pread(self.fds[1], sizes[1] + 1, 0)


STEPS = {
    "write": 6,
    "read": 3,
    "truncate": 2,
    "reserve": 1,
    "punch": 3,
    "zero": 2,
    "copy": 3,
    "map": 2,
    "data": 2,
    "sync": 1,
}


def run(mount: MountedTree, plain: Path, seed: int, count: int) -> None:
    plain.mkdir()
    pair = Pair(mount, plain, seed)
    names, weights = list(STEPS), list(STEPS.values())
    for number in range(count):
        pair.both(pair.random.choices(names, weights)[0])
        if number % 25 == 24:
            pair.compare()
        if number % 60 == 59:
            pair.again()
    pair.compare()
    pair.close()
    mount.remount()
    assert pair.paths[0].read_bytes() == pair.paths[1].read_bytes()


@pytest.mark.parametrize("options", [(), ("shared",)], ids=["alone", "shared"])
@pytest.mark.parametrize("cipher", ["aes-256-gcm", "aes-256-xts"])
def test_random_operations(tmp_path: Path, cipher: str, options: tuple[str, ...]) -> None:
    for seed in range(2):
        with mounted_tree(tmp_path / str(seed), cipher, *options) as mount:
            run(mount, tmp_path / f"plain-{seed}", seed, 250)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("shared",)], ids=["alone", "shared"])
@pytest.mark.parametrize("cipher", ["aes-256-gcm", "aes-256-xts"])
def test_many_random_operations(tmp_path: Path, cipher: str, options: tuple[str, ...]) -> None:
    for seed in range(100, 125):
        with mounted_tree(tmp_path / str(seed), cipher, *options) as mount:
            run(mount, tmp_path / f"plain-{seed}", seed, 1500)
