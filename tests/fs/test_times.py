"""Times to the nanosecond, before 1970 and after 2038, and the time of birth, as the backing store keeps them."""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.mounted_tree import MountedTree, mounted_tree

from phonevault.fs.syscalls import AT_SYMLINK_NOFOLLOW, birth_time

pytestmark = [pytest.mark.mount, pytest.mark.anyone]

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


def files_of(top: Path) -> dict[str, int]:
    return {str(path.relative_to(top)): path.stat().st_mtime_ns for path in top.rglob("*") if path.is_file()}


def write_new(path: Path, size: int = 700) -> None:
    path.write_bytes(b"x" * size)


def map_and_write(path: Path) -> None:
    write_new(path, 5000)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as area:
        area[4000] = 1


def cut(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"x" * 9000)
        file.flush()
        os.ftruncate(file.fileno(), 3000)


def append_later(path: Path) -> None:
    write_new(path)
    with path.open("ab") as file:
        file.write(b"more")


def replaced(path: Path) -> None:
    """As git and editors do it: written under another name, synced, renamed."""
    other = path.with_suffix(".lock")
    with other.open("xb") as file:
        file.write(b"x" * 100)
        file.flush()
        os.fsync(file.fileno())
    other.rename(path)


def cut_by_name(path: Path) -> None:
    write_new(path)
    os.truncate(path, 5)
    os.truncate(path, 5)


WAYS = [write_new, map_and_write, cut, append_later, replaced, cut_by_name]


@pytest.mark.parametrize("cipher", ["aes-256-gcm", "aes-256-xts"])
@pytest.mark.parametrize("again", ["remount", "lock"])
def test_a_time_that_was_shown_stays(tmp_path: Path, cipher: str, again: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(100):
        write_new(source / f"s{number}", number * 50)
    with mounted_tree(tmp_path / "base", cipher) as mount:
        for way in WAYS:
            for number in range(30):
                way(mount.path / f"{way.__name__} {number}")
        (mount.path / "tar").mkdir()
        archive = subprocess.run(["tar", "-C", source, "-c", "."], check=True, capture_output=True).stdout
        subprocess.run(["tar", "-C", mount.path / "tar", "-xm"], input=archive, check=True)
        subprocess.run(["cp", "-rp", source, mount.path / "kept"], check=True)
        subprocess.run(["cp", "-r", source, mount.path / "copied"], check=True)
        shown = files_of(mount.path)
        if again == "remount":
            mount.remount()
        else:
            mount.tell("lock")
            mount.tell("unlock")
        assert files_of(mount.path) == shown
        assert files_of(mount.path / "kept") == files_of(source)


def close_whatever_it_says(file: io.FileIO) -> None:
    with contextlib.suppress(OSError):
        file.close()


def test_a_later_write_is_never_given_an_earlier_time(mount: MountedTree) -> None:
    """Closed before, in and after a lock; the kernel tells its time at close at the latest."""
    for when in ("before", "locked", "after"):
        path = mount.path / when
        path.write_bytes(b"text")
        os.utime(path, ns=(5, 5))
        with path.open("r+b", buffering=0) as file:
            file.write(b"more")
            written = os.fstat(file.fileno()).st_mtime_ns
            assert written > SECOND
            if when == "before":
                file.close()
            mount.tell("lock")
            if when == "locked":
                close_whatever_it_says(file)
            mount.tell("unlock")
        assert path.stat().st_mtime_ns == written
        mount.remount()
        assert path.stat().st_mtime_ns == written


def test_a_time_set_after_the_last_write_stays(mount: MountedTree) -> None:
    path = mount.path / "f"
    with path.open("wb", buffering=0) as file:
        file.write(b"text")
        os.utime(file.fileno(), ns=(7, 1_000_000_007))
        os.utime(file.fileno(), ns=(8, 1_000_000_008))
    mount.remount()
    status = path.stat()
    assert (status.st_mtime_ns, status.st_size) == (1_000_000_008, 4)


def test_shared_mounts_keep_the_time_of_the_backing_store(tmp_path: Path) -> None:
    with mounted_tree(tmp_path, "aes-256-gcm", "shared") as mount:
        path = mount.path / "f"
        append_later(path)
        shown = path.stat().st_mtime_ns
        stored = next(entry for entry in mount.tree.iterdir() if "dirid" not in entry.name)
        assert shown == stored.stat().st_mtime_ns
        mount.remount()
        assert path.stat().st_mtime_ns == shown
