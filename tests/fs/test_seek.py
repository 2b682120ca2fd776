"""SEEK_DATA and SEEK_HOLE, and the programs that use them, on real mounts."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest
from support.mounted_tree import MountedTree
from support.sparse_files import PIECES, UNIT, extents, outcome, sparse

pytestmark = [pytest.mark.mount, pytest.mark.anyone]


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
