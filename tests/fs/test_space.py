"""Reserving, punching and zeroing on real mounts, compared with a plain directory on the same backing store."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.computer import wait_until
from support.mounted_tree import MountedTree, mounted_tree
from support.sparse_files import outcome, pattern

from phonevault.fs.syscalls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, fallocate

pytestmark = [pytest.mark.mount, pytest.mark.anyone]

CIPHERS = ["aes-256-gcm", "aes-256-xts"]
COLLAPSE_RANGE, INSERT_RANGE, UNSHARE_RANGE = 0x08, 0x20, 0x40
PUNCH = FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE
ZERO = FALLOC_ZERO_RANGE


def zero_by_hand(fd: int, mode: int, offset: int, length: int) -> None:
    size = os.fstat(fd).st_size
    os.pwrite(fd, bytes(length), offset)
    if mode & FALLOC_KEEP_SIZE:
        os.ftruncate(fd, size)


RANGES = [
    (0, 4096),
    (0, 100),
    (4096, 8192),
    (5000, 20_000),
    (1, 49_999),
    (0, 50_000),
    (45_056, 4944),
    (49_999, 1),
    (50_000, 1),
    (49_000, 20_000),
    (60_000, 10_000),
    (65_536, 4096),
    (200_000, 1),
]
MODES = {
    "allocate": 0,
    "allocate, size kept": FALLOC_KEEP_SIZE,
    "punch": PUNCH,
    "zero": ZERO,
    "zero, size kept": ZERO | FALLOC_KEEP_SIZE,
}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_every_mode_gives_the_contents_that_a_plain_file_has(
    mount: MountedTree, plain: Path, mode: int
) -> None:
    for size in (50_000, 49_152, 0):
        for offset, length in RANGES:
            found = []
            for folder in (plain, mount.path):
                path = folder / f"{size}-{offset}-{length}"
                path.write_bytes(pattern(size))
                with path.open("r+b") as file:
                    result = outcome(lambda: fallocate(file.fileno(), mode, offset, length))  # noqa: B023
                    if result == "ENOTSUP" and mode & ZERO:
                        assert folder == plain, "done by other means where the backing store cannot"
                        result = zero_by_hand(file.fileno(), mode, offset, length)
                found.append((result, path.stat().st_size, path.read_bytes()))
            assert found[0] == found[1], (size, offset, length)
    mount.remount()
    for path in plain.iterdir():
        assert (mount.path / path.name).read_bytes() == path.read_bytes(), path.name


def test_what_cannot_be_is_refused_as_a_file_system_does(mount: MountedTree, plain: Path) -> None:
    for mode in (COLLAPSE_RANGE, INSERT_RANGE):
        path = mount.path / "f"
        path.write_bytes(pattern(65536))
        with path.open("r+b") as file:
            assert outcome(lambda: fallocate(file.fileno(), mode, 0, 4096)) == "ENOTSUP"  # noqa: B023
        assert path.read_bytes() == pattern(65536)
    bad: list[tuple[int, int, int]] = [
        (FALLOC_PUNCH_HOLE, 0, 4096),
        (0, 0, 0),
        (0, -1, 10),
        (PUNCH | ZERO, 0, 10),
        (0x1000, 0, 10),
    ]
    for mode, offset, length in bad:
        found = []
        for folder in (plain, mount.path):
            (folder / "f").write_bytes(b"text")
            with (folder / "f").open("r+b") as file:
                found.append(outcome(lambda: fallocate(file.fileno(), mode, offset, length)))  # noqa: B023
        assert found[0] == found[1], (mode, offset, length)
    with (mount.path / "f").open("rb") as file:
        assert outcome(lambda: fallocate(file.fileno(), 0, 0, 10)) == "EBADF"


def test_a_punched_hole_gives_its_room_back_and_a_reservation_takes_room(mount: MountedTree) -> None:
    path, size = mount.path / "f", 8 << 20
    path.write_bytes(pattern(size))
    os.sync()
    full = path.stat().st_blocks * 512
    assert full >= size
    with path.open("r+b") as file:
        fallocate(file.fileno(), PUNCH, 1 << 20, 6 << 20)
        assert os.fstat(file.fileno()).st_blocks * 512 <= 2 * (1 << 20) + (1 << 18)
        fallocate(file.fileno(), FALLOC_KEEP_SIZE, 0, size)
        assert os.fstat(file.fileno()).st_blocks * 512 >= size
        fallocate(file.fileno(), FALLOC_KEEP_SIZE, size, size)
        assert os.fstat(file.fileno()).st_blocks * 512 >= 2 * size
    assert path.stat().st_size == size
    expected = bytearray(pattern(size))
    expected[1 << 20 : 7 << 20] = bytes(6 << 20)
    mount.remount()
    assert path.read_bytes() == expected


def test_reserved_room_is_there_when_the_disk_is_full(
    mount: MountedTree, tmp_path: Path, small_disk: Path
) -> None:
    """On a disk of 8 MiB: 3 MiB reserved, the rest filled up, then 3 MiB written."""
    tree = MountedTree(small_disk / "vault", mount.cipher)
    tree.start()
    try:
        for grow in (True, False):
            path, filler = tree.path / f"f{grow}", tree.path / "filler"
            with path.open("w+b", buffering=0) as file:
                fallocate(file.fileno(), 0 if grow else FALLOC_KEEP_SIZE, 0, 3 << 20)
                with pytest.raises(OSError) as caught:
                    fallocate(file.fileno(), 0, 0, 1 << 30)
                assert caught.value.errno == errno.ENOSPC
                assert os.fstat(file.fileno()).st_size == (3 << 20 if grow else 0)
                with filler.open("wb", buffering=0) as full:
                    with pytest.raises(OSError) as caught:
                        while True:
                            full.write(pattern(1 << 16))
                            os.fsync(full.fileno())
                    assert caught.value.errno == errno.ENOSPC
                for place in range(0, 3 << 20, 1 << 18):
                    os.pwrite(file.fileno(), pattern(1 << 18), place)
                os.fsync(file.fileno())
            assert path.read_bytes() == pattern(1 << 18) * 12
            path.unlink()
            filler.unlink()
            # The kernel tells of the last close when it likes.
            wait_until(lambda: free_bytes(small_disk) > 4 << 20)
    finally:
        tree.stop()


def free_bytes(place: Path) -> int:
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("not applicable: only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="not applicable: only root can act as another user")
@pytest.mark.parametrize("cipher", CIPHERS)
def test_set_id_bits_go_when_someone_else_changes_the_contents(
    tmp_path: Path, plain: Path, cipher: str
) -> None:
    with mounted_tree(tmp_path, cipher, "allow_other") as mount:
        set_id_bits_go(mount, plain)


def set_id_bits_go(mount: MountedTree, plain: Path) -> None:
    calls: dict[str, Callable[[int], object]] = {
        "reserve": lambda fd: fallocate(fd, 0, 0, 100),
        "punch": lambda fd: fallocate(fd, PUNCH, 0, 4096),
        "copy": lambda fd: os.copy_file_range(fd, fd, 10, 0, 20),
    }
    for name, call in calls.items():
        left = []
        for folder in (plain, mount.path):
            path = folder / name
            path.write_bytes(pattern(10_000))
            path.chmod(0o6777)
            with path.open("r+b") as file:
                os.setegid(12345)
                os.seteuid(12345)
                try:
                    call(file.fileno())
                finally:
                    os.seteuid(0)
                    os.setegid(0)
            left.append(oct(path.stat().st_mode))
        assert left[0] == left[1], name
