"""copy_file_range on real mounts, compared with a plain directory on the same backing store."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from support.mounted_tree import MountedTree
from support.sparse_files import PIECES, outcome, pattern, sparse

pytestmark = [pytest.mark.mount, pytest.mark.anyone]


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
