"""Names and paths as long and as odd as Linux allows, deep trees and large directories, on real mounts."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.mounted_tree import MountedTree, mounted_tree

pytestmark = [pytest.mark.mount, pytest.mark.anyone]

ODD = [
    b"phonevault.dirid", b"phonevault.tmp.0123456789abcdef", b"phonevault.long.x", b"phonevault.long.x.name", b"...", b" ", b"\n",
    b"\xff\xfe", b"\xc3", "ä".encode(), "a\u0308".encode(), b"-rf", b"*", b"\\", b"\x01", b"\x7f", b"A", b"a", b".name",
    b"n" * 174, b"n" * 175, b"n" * 176, b"n" * 254, b"n" * 255, b"\xff" * 255, b"phonevault.long." + b"x" * 239,
]  # fmt: skip
NAMES = st.one_of(
    st.sampled_from(ODD),
    st.binary(min_size=1, max_size=12),
    st.binary(min_size=170, max_size=255),
).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b".."))


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MountedTree]:
    with mounted_tree(tmp_path_factory.mktemp("names")) as tree:
        yield tree


def check_names(folder: bytes, names: list[bytes]) -> None:
    """Each name is made, found, listed, renamed to and removed, and is no other."""
    os.mkdir(folder)
    for number, name in enumerate(names):
        path = folder + b"/" + name
        if number % 3 == 0:
            os.mkdir(path)
        elif number % 3 == 1:
            os.symlink(name, path)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    assert sorted(os.listdir(folder)) == sorted(names)
    with os.scandir(folder) as entries:
        for entry in entries:
            assert entry.inode() == os.lstat(folder + b"/" + entry.name).st_ino
    other = folder + b"/moved"
    for number, name in enumerate(names):
        path = folder + b"/" + name
        if name != b"moved":
            if b"moved" not in names:
                os.rename(path, other)
                assert not os.path.lexists(path)
                os.rename(other, path)
            assert os.path.lexists(path)
        if number % 3 == 1:
            assert os.readlink(path) == name
        os.rmdir(path) if number % 3 == 0 else os.unlink(path)
    assert os.listdir(folder) == []
    os.rmdir(folder)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES, unique=True, max_size=12))
def test_any_name(mount: MountedTree, names: list[bytes]) -> None:
    check_names(os.fsencode(mount.path) + b"/folder", names)


def test_every_odd_name_after_a_remount(mount: MountedTree) -> None:
    folder = os.fsencode(mount.path) + b"/odd"
    check_names(folder, ODD)
    os.mkdir(folder)
    for name in ODD:
        os.mkdir(folder + b"/" + name)
    mount.remount()
    assert sorted(os.listdir(folder)) == sorted(ODD)
    for name in ODD:
        os.rmdir(folder + b"/" + name)
    os.rmdir(folder)
    (stored,) = (path for path in mount.tree.iterdir() if path.name == "phonevault.dirid")
    assert stored.stat().st_size == 32


def test_a_name_of_256_bytes_is_refused_by_every_call(mount: MountedTree) -> None:
    top, long = mount.path, "n" * 256
    (top / "f").touch()
    calls = [
        lambda: os.open(top / long, os.O_CREAT | os.O_WRONLY),
        lambda: os.mkdir(top / long),
        lambda: os.mkfifo(top / long),
        lambda: os.symlink("x", top / long),
        lambda: os.link(top / "f", top / long),
        lambda: os.rename(top / "f", top / long),
        lambda: os.rename(top / long, top / "g"),
        lambda: os.unlink(top / long),
        lambda: os.rmdir(top / long),
        lambda: os.stat(top / long),
    ]
    for call in calls:
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.ENAMETOOLONG
    assert os.listdir(top) == ["f"]
    (top / "f").unlink()


@contextlib.contextmanager
def working_directory(path: Path) -> Iterator[None]:
    before = os.open(".", os.O_PATH)
    os.chdir(path)
    try:
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def test_a_path_of_4095_bytes(mount: MountedTree) -> None:
    path = "/".join(["d" * 255] * 15 + ["f" * 255])
    assert len(path) == 4095
    with working_directory(mount.path):
        os.makedirs(os.path.dirname(path))
        Path(path).write_text("at the end")
        os.rename(path, path[:-1] + "g")
        assert Path(path[:-1] + "g").read_text() == "at the end"
        with pytest.raises(OSError) as caught:
            os.stat(path + "f")
        assert caught.value.errno == errno.ENAMETOOLONG
    mount.remount()
    with working_directory(mount.path):
        assert os.listdir(os.path.dirname(path)) == ["f" * 254 + "g"]
    shutil.rmtree(mount.path / ("d" * 255))


DEEP = 2000
WALK = """
import os, sys
at = os.open(sys.argv[1], os.O_RDONLY)
for number in range(int(sys.argv[2])):
    if sys.argv[3] == "make":
        os.mkdir(f"level {number}", dir_fd=at)
    above, at = at, os.open(f"level {number}", os.O_RDONLY, dir_fd=at)
    os.close(above)
"""


def walk(path: Path, how: str) -> None:
    subprocess.run([sys.executable, "-c", WALK, str(path), str(DEEP), how], check=True)


def test_a_tree_2000_levels_deep(mount: MountedTree) -> None:
    """Deeper than Python's stack; and no ancestor is open any more when the lowest directory is asked for."""
    walk(mount.path, "make")
    mount.remount()
    walk(mount.path, "go")
    at = os.open(mount.path, os.O_PATH)
    for number in range(DEEP):
        above, at = at, os.open(f"level {number}", os.O_PATH, dir_fd=at)
        os.close(above)
    (mount.path / "wide").mkdir()
    for number in range(520):
        (mount.path / "wide" / str(number)).mkdir()
    os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    held = os.open(".", os.O_RDONLY, dir_fd=at)
    assert os.listdir(held) == ["f"]
    os.close(held)
    os.close(at)
    subprocess.run(["rm", "-rf", str(mount.path / "level 0"), str(mount.path / "wide")], check=True)
    assert os.listdir(mount.path) == []


def large(mount: MountedTree, count: int) -> None:
    folder = mount.path / "large"
    folder.mkdir()
    expected = {f"entry {number}".ljust(20 + number % 7 * 30, "x") for number in range(count)}
    for name in expected:
        os.mknod(folder / name, 0o100600)
    for _ in range(2):
        found = os.listdir(folder)
        assert len(found) == count
        assert set(found) == expected
        with os.scandir(folder) as entries:
            assert sum(entry.stat().st_size == 0 for entry in entries) == count
        mount.remount()
    for name in expected:
        assert os.path.lexists(folder / name)
    assert not (folder / "no such entry").exists()
    before = len(os.listdir(f"/proc/{mount.pid}/fd"))
    for name in expected:
        (folder / name).unlink()
    folder.rmdir()
    os.listdir(mount.path)
    assert len(os.listdir(f"/proc/{mount.pid}/fd")) < before + 50


def test_a_directory_of_3000_entries(mount: MountedTree) -> None:
    large(mount, 3000)


@pytest.mark.slow
def test_a_directory_of_100000_entries(mount: MountedTree) -> None:
    large(mount, 100_000)
