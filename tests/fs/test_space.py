"""Space of files on real mounts, compared with a plain directory on the same backing store."""

from __future__ import annotations

import errno
import itertools
import os
import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.mounted_tree import MountedTree, mounted_tree

from phonevault.fs.syscalls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, fallocate

pytestmark = pytest.mark.mount

CIPHERS = ["aes-256-gcm", "aes-256-xts"]
COLLAPSE_RANGE, INSERT_RANGE, UNSHARE_RANGE = 0x08, 0x20, 0x40
PUNCH = FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE
ZERO = FALLOC_ZERO_RANGE
UNIT = 4096


@pytest.fixture(params=CIPHERS)
def mount(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MountedTree]:
    with mounted_tree(tmp_path, request.param) as tree:
        yield tree


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    folder = tmp_path / "plain"
    folder.mkdir()
    return folder


def outcome(call: Callable[[], object]) -> object:
    try:
        return call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def pattern(size: int) -> bytes:
    return random.Random(size).randbytes(size)


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


def test_seek_finds_holes_and_never_takes_data_for_one(mount: MountedTree) -> None:
    path, size = mount.path / "f", 12 << 20
    sparse(path, PIECES, size)
    data = extents(path)
    for offset, length in PIECES:
        assert any(start <= offset and offset + length <= end for start, end in data), offset
    slack = 4 * UNIT * (len(PIECES) + 1)
    assert sum(end - start for start, end in data) <= sum(length for _, length in PIECES) + slack
    assert len(data) >= len(PIECES)
    mount.remount()
    assert extents(path) == data
    with path.open("rb") as file:
        for offset in (size, size + 1):
            for whence in (os.SEEK_DATA, os.SEEK_HOLE):
                assert outcome(lambda: os.lseek(file.fileno(), offset, whence)) == "ENXIO"  # noqa: B023
        assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) in (UNIT, 2 * UNIT)
        assert os.lseek(file.fileno(), 3, os.SEEK_DATA) == 3


def test_seek_sees_what_the_kernel_has_not_written_back(mount: MountedTree) -> None:
    path = mount.path / "f"
    with path.open("w+b", buffering=0) as file:
        os.ftruncate(file.fileno(), 64 << 20)
        for step in range(1, 40):
            place = step * (1 << 20) + step * 100
            os.pwrite(file.fileno(), b"data" * step, place)
            assert os.lseek(file.fileno(), place, os.SEEK_DATA) == place
            assert os.lseek(file.fileno(), place - place % UNIT - 5 * UNIT, os.SEEK_DATA) <= place
            assert os.lseek(file.fileno(), place, os.SEEK_HOLE) > place
        os.pwrite(file.fileno(), b"end", 80 << 20)
        assert os.lseek(file.fileno(), (80 << 20) + 2, os.SEEK_DATA) == (80 << 20) + 2
        assert os.lseek(file.fileno(), 80 << 20, os.SEEK_HOLE) == (80 << 20) + 3


def test_seek_while_frozen_and_locked(mount: MountedTree) -> None:
    answers: list[object] = []
    with (mount.path / "f").open("w+b", buffering=0) as file:

        def seek() -> None:
            answers.append(outcome(lambda: os.lseek(file.fileno(), 400_000, os.SEEK_DATA)))

        os.ftruncate(file.fileno(), 1 << 20)
        for ending in ("thaw", "lock"):
            os.pwrite(file.fileno(), b"data", 500_000)
            mount.tell("freeze")
            seeker = threading.Thread(target=seek)
            seeker.start()
            seeker.join(0.3)
            assert seeker.is_alive()
            mount.tell(ending)
            seeker.join(20)
            assert not seeker.is_alive()
        seek()
        mount.tell("unlock")
        seek()
    assert isinstance(answers[0], int)
    assert 400_000 < answers[0] <= 500_000
    assert answers == [answers[0], "ENOKEY", "ENOKEY", answers[0]]


def test_a_file_without_holes_is_all_data(mount: MountedTree) -> None:
    path = mount.path / "f"
    path.write_bytes(bytes(300_000))
    assert extents(path) == [(0, 300_000)]
    (mount.path / "empty").touch()
    assert extents(mount.path / "empty") == []


@pytest.mark.parametrize("way", ["cp", "tar"])
def test_sparse_copies_stay_sparse_and_true(mount: MountedTree, plain: Path, way: str) -> None:
    sparse(mount.path / "f", PIECES, 12 << 20)
    if way == "cp":
        for source, target in ((mount.path / "f", mount.path / "copy"), (mount.path / "f", plain / "f")):
            subprocess.run(["cp", "--sparse=always", source, target], check=True)
        copy = mount.path / "copy"
    else:
        subprocess.run(["tar", "-C", mount.path, "-Scf", plain / "f.tar", "f"], check=True)
        assert (plain / "f.tar").stat().st_size < 1 << 20
        (mount.path / "out").mkdir()
        subprocess.run(["tar", "-C", mount.path / "out", "-Sxf", plain / "f.tar"], check=True)
        copy = mount.path / "out" / "f"
    assert copy.read_bytes() == (mount.path / "f").read_bytes()
    os.sync()
    assert copy.stat().st_blocks * 512 < 2 << 20
    mount.remount()
    assert copy.read_bytes() == (mount.path / "f").read_bytes()


def test_a_sparse_copy_of_the_ciphertext_opens(mount: MountedTree, tmp_path: Path) -> None:
    sparse(mount.path / "f", PIECES, 12 << 20)
    expected, data = (mount.path / "f").read_bytes(), extents(mount.path / "f")
    mount.stop()
    for option in ("--sparse=always", "--sparse=never"):
        copy = MountedTree(tmp_path / option, mount.cipher)
        subprocess.run(["cp", "-a", option, mount.tree, copy.tree], check=True)
        copy.start()
        try:
            assert (copy.path / "f").read_bytes() == expected
            if option == "--sparse=always":
                assert extents(copy.path / "f") == data
        finally:
            copy.stop()


def test_copy_file_range_is_a_plain_copy(mount: MountedTree, plain: Path) -> None:
    sizes = (0, 1, 4096, 70_000, 300_001)
    ranges = [(0, 0, 400_000), (1, 0, 5000), (4096, 8192, 100_000), (65_000, 300_000, 4096), (400_000, 0, 10)]
    for size, (source_offset, target_offset, length) in itertools.product(sizes, ranges):
        found = []
        for folder in (plain, mount.path):
            (folder / "a").write_bytes(pattern(size))
            (folder / "b").write_bytes(pattern(123_456))
            with (folder / "a").open("rb") as source, (folder / "b").open("r+b") as target:
                count = os.copy_file_range(
                    source.fileno(), target.fileno(), length, source_offset, target_offset
                )
            found.append((count, (folder / "b").read_bytes()))
        assert found[0] == found[1], (size, source_offset, target_offset, length)


def test_copy_file_range_inside_one_file(mount: MountedTree, plain: Path) -> None:
    for source, target, length in [
        (0, 50_000, 50_000),
        (60_000, 0, 40_000),
        (0, 1, 10),
        (0, 4096, 8192),
        (5, 5, 1),
    ]:
        found = []
        for folder in (plain, mount.path):
            path = folder / "f"
            path.write_bytes(pattern(100_000))
            with path.open("r+b") as file:
                os.pwrite(file.fileno(), b"just now", source + 3)
                count = outcome(
                    lambda: os.copy_file_range(file.fileno(), file.fileno(), length, source, target)  # noqa: B023
                )
                now = os.pread(file.fileno(), 200_000, 0)
            found.append((count, now, path.read_bytes()))
        assert found[0] == found[1], (source, target, length)


def test_copy_file_range_goes_with_the_kernels_cache(mount: MountedTree) -> None:
    source, target = mount.path / "a", mount.path / "b"
    with source.open("w+b", buffering=0) as a, target.open("w+b", buffering=0) as b:
        os.pwrite(a.fileno(), pattern(200_000), 0)
        os.pwrite(b.fileno(), b"x" * 250_000, 0)
        assert os.pread(b.fileno(), 10, 100) == b"x" * 10
        assert os.copy_file_range(a.fileno(), b.fileno(), 150_000, 1000, 50) == 150_000
        expected = b"x" * 50 + pattern(200_000)[1000:151_000] + b"x" * (250_000 - 150_050)
        assert os.pread(b.fileno(), 300_000, 0) == expected
    mount.remount()
    assert target.read_bytes() == expected


def test_copy_file_range_keeps_holes_and_makes_them(mount: MountedTree) -> None:
    sparse(mount.path / "a", PIECES, 12 << 20)
    for before in (0, 20 << 20):
        (mount.path / "b").write_bytes(pattern(before))
        with (mount.path / "a").open("rb") as a, (mount.path / "b").open("r+b") as b:
            done = 0
            while count := os.copy_file_range(a.fileno(), b.fileno(), 12 << 20):
                done += count
        assert done == 12 << 20
        expected = (mount.path / "a").read_bytes() + pattern(before)[12 << 20 :]
        assert (mount.path / "b").read_bytes() == expected
        os.sync()
        assert (mount.path / "b").stat().st_blocks * 512 < max(before - (12 << 20), 0) + (2 << 20)


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
    finally:
        tree.stop()


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


def test_files_beyond_four_gibibytes(mount: MountedTree) -> None:
    path, far = mount.path / "f", 5 << 30
    with path.open("w+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"far away", far)
        os.pwrite(file.fileno(), b"at the border", (4 << 30) - 5)
    mount.remount()
    assert path.stat().st_size == far + 8
    assert path.stat().st_blocks * 512 < 1 << 20
    with path.open("r+b", buffering=0) as file:
        assert os.pread(file.fileno(), 100, far) == b"far away"
        assert os.pread(file.fileno(), 15, (4 << 30) - 6) == b"\0at the border\0"
        found = os.lseek(file.fileno(), 1 << 30, os.SEEK_DATA)
        assert (4 << 30) - 2 * UNIT <= found <= (4 << 30) - 5
        os.ftruncate(file.fileno(), (4 << 30) + 1)
        os.ftruncate(file.fileno(), 6 << 30)
        assert os.pread(file.fileno(), 100, far) == bytes(100)
        assert os.pread(file.fileno(), 10, (4 << 30) - 5) == b"at the" + bytes(4)
    assert path.stat().st_size == 6 << 30
