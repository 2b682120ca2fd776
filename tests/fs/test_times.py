"""Times to the nanosecond, before 1970 and after 2038, and the time of birth, as the backing store keeps them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.mounted_tree import MountedTree, mounted_tree

from phonevault.fs.syscalls import AT_SYMLINK_NOFOLLOW, birth_time

pytestmark = pytest.mark.mount

SECOND = 1_000_000_000
TIMES = [
    0,
    1,
    -1,
    -SECOND,
    -5 * SECOND + 7,
    (1 << 31) * SECOND,
    (1 << 32) * SECOND + 999_999_999,
    1_700_000_000_123_456_789,
]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[MountedTree]:
    with mounted_tree(tmp_path) as tree:
        yield tree


@pytest.mark.parametrize("kind", ["file", "directory", "link", "open file"])
def test_times_are_kept_as_a_plain_directory_keeps_them(
    mount: MountedTree, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "plain").mkdir()
    found = []
    for folder in (tmp_path / "plain", mount.path):
        path = folder / "x"
        if kind == "directory":
            path.mkdir()
        elif kind == "link":
            path.symlink_to("nowhere")
        else:
            path.write_bytes(b"text")
        kept = []
        for number, moment in enumerate(TIMES):
            other = TIMES[-number]
            if kind == "open file":
                with path.open("r+b") as file:
                    file.write(b"dirty")
                    file.flush()
                    os.utime(file.fileno(), ns=(moment, other))
            else:
                os.utime(path, ns=(moment, other), follow_symlinks=False)
            status = path.lstat()
            kept.append((status.st_atime_ns, status.st_mtime_ns))
        found.append(kept)
    assert found[0] == found[1]
    mount.remount()
    status = (mount.path / "x").lstat()
    assert (status.st_atime_ns, status.st_mtime_ns) == found[0][-1]


def test_writing_changes_the_times(mount: MountedTree) -> None:
    path = mount.path / "f"
    path.write_bytes(b"text")
    os.utime(path, ns=(5, 5))
    before = time.time_ns() - SECOND
    with path.open("r+b") as file:
        file.write(b"more")
    status = path.stat()
    assert status.st_mtime_ns > before
    assert status.st_ctime_ns > before
    mount.remount()
    assert path.stat().st_mtime_ns == status.st_mtime_ns


@pytest.mark.parametrize("held", [True, False])
def test_the_time_of_birth_is_that_of_the_backing_store(
    mount: MountedTree, tmp_path: Path, held: bool
) -> None:
    path = mount.path / "f"
    (tmp_path / "plain").touch()
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(fd, b"12345")
    if not held:
        os.close(fd)
    stored = next(entry for entry in mount.tree.iterdir() if "dirid" not in entry.name)
    born = birth_time(-100, str(stored), AT_SYMLINK_NOFOLLOW)
    kernel = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    if kernel < (6, 6):
        born = None
    assert birth_time(-100, str(path), AT_SYMLINK_NOFOLLOW) == born
    line = subprocess.run(["stat", "-c", "%s %h %a", path], check=True, capture_output=True, text=True)
    assert line.stdout.split()[:2] == ["5", "1"]
    os.symlink("target", mount.path / "link")
    assert (
        subprocess.run(
            ["stat", "-c", "%s %F", mount.path / "link"], check=True, capture_output=True, text=True
        ).stdout.strip()
        == "6 symbolic link"
    )
    if held:
        os.close(fd)
