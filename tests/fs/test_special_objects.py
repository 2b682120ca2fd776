"""Fifos, sockets, devices, their links; objects removed while they are in use; what a directory hands down."""

from __future__ import annotations

import errno
import gc
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.direct_tree import DirectTree
from support.mounted_tree import MountedTree, mounted_tree
from support.needs import need_ordinary_user, need_root

pytestmark = pytest.mark.mount

LONG = "long name " * 25
SECOND = 1_000_000_000
DEVICES_OPEN = [("dev",), ("dev", "shared")] if os.geteuid() == 0 else [(), ("shared",)]


@pytest.fixture(params=DEVICES_OPEN, ids=["alone", "shared"])
def mount(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MountedTree]:
    with mounted_tree(tmp_path, "aes-256-gcm", *request.param) as tree:
        yield tree


def test_a_fifo_connects_two_programs(mount: MountedTree) -> None:
    path = mount.path / LONG
    os.mkfifo(path, 0o640)
    assert stat.S_ISFIFO(path.lstat().st_mode)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(path.read_bytes()))
    reader.start()
    path.write_bytes(b"through")
    reader.join(20)
    assert received == [b"through"]
    assert path.lstat().st_size == 0


def test_a_socket_is_connected_to(mount: MountedTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mount.path)  # the path of a socket may have 107 bytes
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("socket")
        server.listen()
        assert stat.S_ISSOCK(os.lstat("socket").st_mode)
        os.rename("socket", "other")
        client.connect("other")
        there, _ = server.accept()
        client.sendall(b"hello")
        assert there.recv(5) == b"hello"
        there.close()
    os.unlink("other")
    monkeypatch.undo()
    assert os.listdir(mount.path) == []


def test_devices(mount: MountedTree) -> None:
    need_root()
    numbers = [(1, 3), (1, 5), (8, 17), (511, 300), (4095, 1_048_575)]
    for number, (major, minor) in enumerate(numbers):
        for kind in (stat.S_IFCHR, stat.S_IFBLK):
            os.mknod(mount.path / f"{kind} {number}", kind | 0o640, os.makedev(major, minor))
    mount.remount()
    for number, (major, minor) in enumerate(numbers):
        for kind in (stat.S_IFCHR, stat.S_IFBLK):
            status = (mount.path / f"{kind} {number}").stat()
            assert stat.S_IFMT(status.st_mode) == kind
            assert (os.major(status.st_rdev), os.minor(status.st_rdev)) == (major, minor)
    assert (mount.path / f"{stat.S_IFCHR} 1").open("rb").read(10) == bytes(10)
    (mount.path / f"{stat.S_IFCHR} 0").write_bytes(b"to nowhere")


def test_devices_do_not_open_unless_root_asked_for_it(tmp_path: Path) -> None:
    need_root()
    with mounted_tree(tmp_path) as mount:
        path = mount.path / "null"
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        with pytest.raises(PermissionError):
            path.open("rb")


def make(path: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    elif kind == "link":
        path.symlink_to("nowhere")
    elif kind == "device":
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    else:
        path.write_text("text")


@pytest.mark.parametrize("kind", ["file", "fifo", "socket", "link", "device"])
def test_hard_links(mount: MountedTree, kind: str) -> None:
    if kind == "device":
        need_root()
    top = mount.path
    make(top / "one", kind)
    (top / "folder").mkdir()
    os.link(top / "one", top / "folder" / LONG, follow_symlinks=False)
    os.link(top / "folder" / LONG, top / "three", follow_symlinks=False)
    mount.remount()
    first = (top / "one").lstat()
    for path in (top / "folder" / LONG, top / "three"):
        status = path.lstat()
        assert (status.st_ino, status.st_mode, status.st_nlink) == (first.st_ino, first.st_mode, 3)
    with pytest.raises(FileExistsError):
        os.link(top / "one", top / "three", follow_symlinks=False)
    os.utime(top / "three", ns=(5, 7), follow_symlinks=False)
    assert (top / "one").lstat().st_mtime_ns == 7
    (top / "one").unlink()
    os.rename(top / "three", top / "folder" / "four")
    assert (top / "folder" / "four").lstat().st_nlink == 2
    os.rename(top / "folder" / "four", top / "folder" / LONG)
    assert sorted(os.listdir(top / "folder")) == sorted(["four", LONG]), (
        "two names of one object: rename does nothing"
    )
    (top / "folder" / LONG).unlink()
    assert (top / "folder" / "four").lstat().st_nlink == 1
    if kind == "link":
        assert os.readlink(top / "folder" / "four") == "nowhere"
    if kind == "file":
        assert (top / "folder" / "four").read_text() == "text"


def test_directories_have_no_hard_links(mount: MountedTree) -> None:
    (mount.path / "d").mkdir()
    with pytest.raises(OSError) as caught:
        os.link(mount.path / "d", mount.path / "e")
    assert caught.value.errno == errno.EPERM


IN_A_REMOVED_DIRECTORY = """
import errno, os, sys
os.chdir(sys.argv[1])
held = os.open(".", os.O_RDONLY)
os.rmdir(sys.argv[1])
assert os.listdir(".") == os.listdir(held) == []
assert os.fstat(held).st_ino == os.stat(".").st_ino
for call in (
    lambda: os.open("f", os.O_CREAT | os.O_WRONLY), lambda: os.mkdir("d"), lambda: os.symlink("x", "l"),
    lambda: os.stat("f"), lambda: os.link("/proc/self/exe", "e"), lambda: os.rename(sys.argv[2], "moved"),
):
    try:
        call()
    except OSError as error:
        assert error.errno in (errno.ENOENT, errno.ESTALE, errno.EXDEV), error
    else:
        raise AssertionError("something was made in a removed directory")
os.mkdir(sys.argv[1])
assert os.stat(sys.argv[1]).st_ino != os.fstat(held).st_ino
"""


def test_a_removed_working_directory(mount: MountedTree) -> None:
    (mount.path / "d").mkdir()
    (mount.path / "other").touch()
    arguments = [str(mount.path / "d"), str(mount.path / "other")]
    subprocess.run([sys.executable, "-c", IN_A_REMOVED_DIRECTORY, *arguments], check=True, timeout=60)
    assert sorted(os.listdir(mount.path)) == ["d", "other"]


def test_a_removed_file_stays_whole_for_who_has_it_open(mount: MountedTree) -> None:
    path = mount.path / LONG
    first = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(first, b"text" * 3000)
    second = os.open(path, os.O_RDONLY)
    path.unlink()
    assert os.listdir(mount.path) == []
    path.write_text("another")
    os.ftruncate(first, 5)
    os.pwrite(first, b"more", 9000)
    assert os.pread(second, 10_000, 0) == b"textt".ljust(9000, b"\0") + b"more"
    os.fchmod(first, 0o604)
    os.utime(second, ns=(-SECOND, (1 << 33) * SECOND + 5))
    status = os.fstat(second)
    assert (status.st_nlink, stat.S_IMODE(status.st_mode), status.st_size) == (0, 0o604, 9004)
    assert (status.st_atime_ns, status.st_mtime_ns) == (
        -SECOND,
        (1 << 33) * SECOND + 5,
    )
    os.fsync(first)
    os.close(first)
    os.close(second)
    assert path.read_text() == "another"


def test_what_a_directory_hands_down(mount: MountedTree) -> None:
    """Its group and set-group-id bit, to directories; its group alone, to the rest. The sticky bit stays where it is."""
    need_root()
    folder = mount.path / "folder"
    folder.mkdir()
    os.chown(folder, 0, 1234)
    folder.chmod(0o3775)
    before = os.umask(0o027)
    try:
        (folder / "file").touch()
        (folder / LONG).mkdir()
        os.mkfifo(folder / "fifo")
        (folder / "link").symlink_to("x")
        (folder / LONG / "below").mkdir(0o1777)
    finally:
        os.umask(before)
    mount.remount()
    modes = {path: path.lstat() for path in (folder, *folder.rglob("*"))}
    assert {status.st_gid for status in modes.values()} == {1234}
    assert stat.S_IMODE(modes[folder].st_mode) == 0o3775
    assert stat.S_IMODE(modes[folder / LONG].st_mode) == 0o2750
    assert stat.S_IMODE(modes[folder / LONG / "below"].st_mode) == 0o3750
    assert stat.S_IMODE(modes[folder / "file"].st_mode) == 0o640
    assert stat.S_IMODE(modes[folder / "fifo"].st_mode) == 0o640


AS_ANOTHER = """
import os, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
os.umask(0)
os.chdir(sys.argv[1])
os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o6755))
os.mkdir("folder", 0o755)
os.mkfifo("l" * 255, 0o644)
os.symlink("target", "link")
os.close(os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o600))
for name, call in (("file", lambda: os.mkdir("file")), ("folder", lambda: os.symlink("x", "folder"))):
    try:
        call()
    except FileExistsError:
        pass
    else:
        raise AssertionError(name)
"""


@pytest.mark.parametrize("options", [("allow_other",), ("allow_other", "shared")], ids=["alone", "shared"])
def test_another_user_makes_objects(tmp_path: Path, options: tuple[str, ...]) -> None:
    need_root()
    for path in (tmp_path, *tmp_path.parents[:2]):
        if path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o011)
    with mounted_tree(tmp_path / "m", "aes-256-gcm", *options) as mount:
        folder = mount.path / "shared"
        folder.mkdir()
        folder.chmod(0o1777)
        held = os.open(folder, os.O_PATH)
        child = subprocess.run(
            [sys.executable, "-c", AS_ANOTHER, f"/proc/self/fd/{held}"],
            check=True,
            pass_fds=[held],
            timeout=60,
        )
        assert child.returncode == 0
        os.close(held)
        mount.remount()
        found = {path.name: path.lstat() for path in folder.iterdir()}
        assert set(found) == {"file", "folder", "l" * 255, "link"}
        assert {(status.st_uid, status.st_gid) for status in found.values()} == {(65534, 65534)}
        assert stat.S_IMODE(found["file"].st_mode) == 0o6755
        stored = [name for path in mount.tree.iterdir() if path.is_dir() for name in os.listdir(path)]
        assert not [name for name in stored if name.startswith("phonevault.tmp.")]


@pytest.mark.parametrize("kind", ["create", "mkdir", "mknod", "symlink"])
def test_what_cannot_be_given_to_its_maker_is_not_made(tmp_path: Path, kind: str) -> None:
    """An ordinary user's daemon (with --allow-other) asked by another user: no kernel is needed to ask it."""
    need_ordinary_user()
    tree = DirectTree(tmp_path / "tree")
    tree.uid += 1
    calls = {
        "create": lambda: tree.create(b"l" * 255),
        "mkdir": lambda: tree.mkdir(b"l" * 255),
        "mknod": lambda: tree.mknod(b"l" * 255, stat.S_IFIFO | 0o600),
        "symlink": lambda: tree.symlink(b"l" * 255, b"target"),
    }
    gc.collect()  # what earlier trees left in cycles may not go while it is counted
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(PermissionError):
        calls[kind]()
    assert os.listdir(tmp_path / "tree") == ["phonevault.dirid"]
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("mode", [0o000, 0o200, 0o500, 0o700])
def test_a_directory_closed_to_its_owner_is_removed_and_replaced(mount: MountedTree, mode: int) -> None:
    (mount.path / "closed").mkdir()
    (mount.path / "closed").chmod(mode)
    (mount.path / "closed").rmdir()
    (mount.path / "closed").mkdir()
    (mount.path / "closed").chmod(mode)
    (mount.path / "full").mkdir()
    (mount.path / "full" / "f").touch()
    os.rename(mount.path / "full", mount.path / "closed")
    assert os.listdir(mount.path / "closed") == ["f"]
    (mount.path / "closed").chmod(mode)
    with pytest.raises(OSError) as caught:
        (mount.path / "closed").rmdir()
    assert caught.value.errno == errno.ENOTEMPTY
    assert stat.S_IMODE((mount.path / "closed").stat().st_mode) == mode
    (mount.path / "closed").chmod(0o700)


def test_a_directory_that_may_be_listed_but_not_entered(mount: MountedTree) -> None:
    folder = mount.path / "folder"
    folder.mkdir()
    for name in ("one", LONG):
        (folder / name).touch()
    folder.chmod(0o400)
    mount.remount()
    assert sorted(os.listdir(folder)) == sorted(["one", LONG])
    if os.geteuid() != 0:
        with pytest.raises(PermissionError):
            (folder / "one").stat()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o400
    folder.chmod(0o700)
    assert (folder / LONG).stat().st_size == 0
