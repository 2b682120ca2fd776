"""What POSIX promises beyond what everyday programs try: objects held without a name, limits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.mounted_tree import MountedTree, mounted_tree

pytestmark = pytest.mark.mount


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[MountedTree]:
    with mounted_tree(tmp_path) as tree:
        yield tree


def make(path: Path, kind: str) -> int:
    """An object of that kind, held without being open for reading."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("target")
    elif kind == "directory":
        path.mkdir()
    else:
        path.write_text("text")
    return os.open(path, os.O_PATH | os.O_NOFOLLOW)


@pytest.mark.parametrize("kind", ["file", "fifo", "link", "directory"])
@pytest.mark.parametrize("way", ["removed", "replaced"])
def test_an_object_held_without_a_name_answers(mount: MountedTree, kind: str, way: str) -> None:
    held = make(mount.path / "old", kind)
    inode = os.fstat(held).st_ino
    if way == "replaced":
        os.close(make(mount.path / "new", kind))
        os.rename(mount.path / "new", mount.path / "old")
    elif kind == "directory":
        (mount.path / "old").rmdir()
    else:
        (mount.path / "old").unlink()
    status = os.fstat(held)
    assert (status.st_ino, status.st_nlink) == (inode, 0)
    if kind == "link":
        assert os.readlink("", dir_fd=held) == "target"
    if kind == "file":
        assert Path(f"/proc/self/fd/{held}").read_text() == "text"
    if kind != "link":
        os.chmod(f"/proc/self/fd/{held}", 0o700)
        assert os.fstat(held).st_mode & 0o777 == 0o700
    os.utime(f"/proc/self/fd/{held}", ns=(1, 2))
    assert os.fstat(held).st_mtime_ns == 2
    os.close(held)


def test_an_object_held_by_one_of_two_names_that_goes(mount: MountedTree) -> None:
    (mount.path / "one").write_text("text")
    os.link(mount.path / "one", mount.path / "two")
    mount.remount()
    held = os.open(mount.path / "one", os.O_PATH)
    (mount.path / "one").unlink()
    assert os.fstat(held).st_nlink == 1
    assert Path(f"/proc/self/fd/{held}").read_text() == "text"
    assert (mount.path / "two").stat().st_ino == os.fstat(held).st_ino
    (mount.path / "two").unlink()
    assert os.fstat(held).st_nlink == 0
    os.close(held)


def test_removed_objects_leave_no_descriptor_behind(mount: MountedTree) -> None:
    def descriptors() -> int:
        return len(os.listdir(f"/proc/{mount.pid}/fd"))

    before = descriptors()
    for number in range(2000):
        (mount.path / str(number)).touch()
    for number in range(2000):
        (mount.path / str(number)).unlink()
    os.listdir(mount.path)
    assert descriptors() < before + 50
