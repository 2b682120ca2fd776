"""A backing store that is full, limited, or fails: the caller is told, and what was acknowledged is there."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.faults import SHORT, Faults
from support.mounted_tree import MountedTree, mounted_tree
from support.needs import need_root

from phonevault.fs.syscalls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, fallocate

pytestmark = [pytest.mark.mount, pytest.mark.anyone]

CIPHERS = ["aes-256-gcm", "aes-256-xts"]
OLD = bytes(range(1, 251)) * 400
NEW = b"new" * 40_000
WRITES = ("pwrite", "ftruncate")


@pytest.fixture(params=CIPHERS)
def mount(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MountedTree]:
    (tmp_path / "faults").mkdir()
    with mounted_tree(tmp_path, request.param, "faulty") as tree:
        yield tree


@pytest.fixture
def faults(mount: MountedTree) -> Faults:
    return Faults(mount.base / "faults")


def acknowledged(path: Path, data: bytes = OLD) -> int:
    """A file with these bytes, fsynced; its descriptor."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    assert os.pwrite(fd, data, 0) == len(data)
    os.fsync(fd)
    return fd


def error_of(fd: int, data: bytes, offset: int) -> int:
    """The error of a write that is forced to the backing store."""
    with pytest.raises(OSError) as caught:
        while data:
            data = data[os.pwrite(fd, data, offset) :]
        os.fsync(fd)
    assert caught.value.errno is not None
    return caught.value.errno


def test_refused_writes_are_told_and_change_nothing(mount: MountedTree, faults: Faults) -> None:
    offsets = [0, 5000, len(OLD) - 10, len(OLD), len(OLD) + 50_000]
    paths = [mount.path / str(offset) for offset in offsets]
    for number, (offset, path) in enumerate(zip(offsets, paths, strict=True)):
        fd = acknowledged(path)
        refusal = (errno.EIO, errno.ENOSPC)[number % 2]
        with faults.on(refusal, *WRITES):
            assert error_of(fd, NEW, offset) == refusal
        os.close(fd)
    mount.remount()
    assert [path.read_bytes() == OLD for path in paths] == [True] * len(paths)


def test_refused_truncations_are_told_and_change_nothing(mount: MountedTree, faults: Faults) -> None:
    sizes = [0, 1, 4096, 50_001, len(OLD) + 1, len(OLD) + 100_000]
    paths = [mount.path / str(size) for size in sizes]
    for size, path in zip(sizes, paths, strict=True):
        fd = acknowledged(path)
        with faults.on(errno.EIO, *WRITES), pytest.raises(OSError, match=os.strerror(errno.EIO)):
            os.ftruncate(fd, size)
        os.close(fd)
    mount.remount()
    assert [path.read_bytes() == OLD for path in paths] == [True] * len(paths)


def test_short_writes_are_taken_up(mount: MountedTree, faults: Faults) -> None:
    with faults.on(SHORT, "pwrite"):
        fd = acknowledged(mount.path / "f")
        os.pwrite(fd, NEW, 1001)
        os.fsync(fd)
        os.ftruncate(fd, 100_001)
        os.close(fd)
    mount.remount()
    assert (mount.path / "f").read_bytes() == (OLD[:1001] + NEW)[:100_001]


def test_a_failed_fsync_is_told_to_all_until_the_file_is_closed(mount: MountedTree, faults: Faults) -> None:
    path = mount.path / "f"
    fd, other = acknowledged(path), os.open(path, os.O_RDWR)
    os.pwrite(fd, NEW, 0)
    with faults.on(errno.EIO, "fsync", "fdatasync"), pytest.raises(OSError, match=os.strerror(errno.EIO)):
        os.fsync(fd)
    for handle in (fd, other, fd):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            os.fsync(handle)
    os.close(fd)
    os.close(other)
    synced_in_time(path)


def synced_in_time(path: Path) -> None:
    """The kernel tells of a close when it comes to it, perhaps after the next open."""
    deadline = time.monotonic() + 30
    while True:
        fd = os.open(path, os.O_RDWR)
        try:
            os.fsync(fd)
            return
        except OSError:
            assert time.monotonic() < deadline
        finally:
            os.close(fd)
        time.sleep(0.05)


def test_a_lock_whose_store_refuses_loses_nothing_acknowledged(mount: MountedTree, faults: Faults) -> None:
    """What the kernel still held was not acknowledged; its writer is told."""
    fd = acknowledged(mount.path / "f")
    os.pwrite(fd, NEW, 10)
    with faults.on(errno.ENOSPC, *WRITES):
        mount.tell("lock")
    mount.tell("unlock")
    with pytest.raises(OSError) as caught:
        os.fsync(fd)
    assert caught.value.errno == errno.ENOSPC
    os.close(fd)
    mount.remount()
    assert (mount.path / "f").read_bytes() == OLD


def test_a_file_size_limit_is_told_and_nothing_is_torn(mount: MountedTree) -> None:
    """RLIMIT_FSIZE of the serving process: a write across it is short, at any byte, and then fails."""
    limits = (60_001, 70_000, 73_728)
    paths = [mount.path / str(limit) for limit in limits]
    soft, hard = resource.prlimit(mount.pid, resource.RLIMIT_FSIZE)
    for limit, path in zip(limits, paths, strict=True):
        fd = acknowledged(path)
        resource.prlimit(mount.pid, resource.RLIMIT_FSIZE, (limit, hard))
        assert error_of(fd, b"y" * 30_000, 50_000) == errno.EFBIG
        os.pwrite(fd, b"z" * 10_000, 0)
        os.fsync(fd)
        os.close(fd)
        resource.prlimit(mount.pid, resource.RLIMIT_FSIZE, (soft, hard))
    mount.remount()
    assert [path.read_bytes() for path in paths] == [b"z" * 10_000 + OLD[10_000:]] * len(paths)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    need_root()
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_a_full_disk_loses_nothing(small_disk: Path, cipher: str) -> None:
    """Full in the middle of growing, of overwriting holes, and of cutting; and killed when it is full."""
    tree = MountedTree(small_disk, cipher)
    tree.start()
    try:
        kept = acknowledged(tree.path / "kept")
        holes = acknowledged(tree.path / "holes", NEW)
        os.ftruncate(holes, 1 << 20)
        fallocate(holes, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 10_000, 50_000)
        os.fsync(holes)
        before = (tree.path / "holes").read_bytes()
        filler = os.open(tree.path / "filler", os.O_WRONLY | os.O_CREAT)
        size = 0
        for step in (1 << 20, 1 << 12, 100):
            while True:
                try:
                    os.pwrite(filler, bytes(step), size)
                    os.fsync(filler)
                except OSError as error:
                    assert error.errno == errno.ENOSPC
                    break
                size += step
        assert error_of(kept, NEW, len(OLD)) == errno.ENOSPC
        assert error_of(holes, b"h" * 900_000, 20_001) == errno.ENOSPC
        os.ftruncate(kept, 50_001)
        for fd in (kept, holes, filler):
            os.close(fd)
        tree.kill()
        tree.start()
        assert (tree.path / "kept").read_bytes() == OLD[:50_001]
        found = (tree.path / "holes").read_bytes()
        assert found[:20_001] + found[920_001:] == before[:20_001] + before[920_001:]
        assert all(byte in (old, ord("h")) for byte, old in zip(found, before, strict=True))
        assert (tree.path / "filler").stat().st_size >= size
        assert set((tree.path / "filler").read_bytes()) == {0}
    finally:
        tree.stop()
