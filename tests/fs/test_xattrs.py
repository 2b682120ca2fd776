"""Extended attributes on a real mount, beside those of a plain directory."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import os
import shutil
import stat
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.answers import answer
from support.mounted_tree import MountedTree, mounted_tree
from support.needs import need_root, need_xattrs

from phonevault.fs.format.xattrs import USER_PREFIX

pytestmark = pytest.mark.mount

NAMES = (
    "user.a", "user." + "n" * 150, "user." + "n" * 249, "user." + "n" * 251, "trusted.a", "security.a",
    "system.nfs4_acl", "other.a", "user.", "trusted.", "security.", "a",
)  # fmt: skip
VALUES = (b"value", b"v" * 3000, b"v" * 30_000, b"v" * 65_537)
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
"""cap_net_raw, permitted and effective (linux/capability.h, vfs_cap_data)."""


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[MountedTree]:
    need_xattrs(tmp_path)
    with mounted_tree(tmp_path / "base") as tree:
        yield tree


def make(top: Path, kind: str) -> Path:
    path = top / kind
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("nowhere")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.touch(0o400 if kind == "read only" else 0o200 if kind == "write only" else 0o600)
    return path


def tried(top: Path, kind: str) -> Iterator[object]:
    """Every operation with every name, value and flag."""
    path = make(top, kind)
    for name, value in itertools.product(NAMES, VALUES):
        for flags in (0, os.XATTR_CREATE, os.XATTR_REPLACE):
            case = (kind, name, len(value), flags)
            yield case, answer(os.setxattr, path, name, value, flags, follow_symlinks=False)
            yield case, answer(os.getxattr, path, name, follow_symlinks=False)
            yield case, answer(os.listxattr, path, follow_symlinks=False)
        for _ in range(2):
            yield kind, name, answer(os.removexattr, path, name, follow_symlinks=False)


def test_every_answer_is_that_of_a_plain_directory(mount: MountedTree, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for kind in ("file", "directory", "link", "fifo", "read only", "write only"):
        for ours, theirs in zip(tried(mount.path, kind), tried(plain, kind), strict=True):
            assert ours == theirs


def test_sizes_and_short_buffers(mount: MountedTree) -> None:
    path = mount.path / "file"
    path.touch()
    os.setxattr(path, "user.name", b"value")
    libc, room = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(100)
    for size, expected in ((0, 5), (5, 5), (100, 5), (4, -errno.ERANGE), (1, -errno.ERANGE)):
        got = libc.getxattr(bytes(path), b"user.name", room, size)
        assert (got if got >= 0 else -ctypes.get_errno()) == expected
    for size, expected in ((0, 10), (10, 10), (100, 10), (9, -errno.ERANGE)):
        got = libc.listxattr(bytes(path), room, size)
        assert (got if got >= 0 else -ctypes.get_errno()) == expected


def test_a_value_too_long_once_encrypted(mount: MountedTree) -> None:
    path = mount.path / "file"
    path.touch()
    assert answer(os.setxattr, path, "user.name", b"v" * 65_536) == "ENOSPC"
    assert answer(os.setxattr, path, "user.name", b"v" * 65_537) == "E2BIG"


def test_they_stay_with_their_object(mount: MountedTree) -> None:
    top, long = mount.path, "user." + "long" * 60
    (top / "file").write_text("text")
    (top / "directory").mkdir()
    for name, value in (("user.one", b"1" * 100), (long, b"2" * 200), ("user.empty", b"")):
        os.setxattr(top / "file", name, value)
        os.setxattr(top / "directory", name, value)
    mount.remount()
    os.rename(top / "file", top / "directory" / "moved")
    os.link(top / "directory" / "moved", top / "second")
    shutil.copy2(top / "second", top / "copied")
    (top / "directory" / "moved").write_text("other")
    for path in (top / "second", top / "directory" / "moved", top / "copied", top / "directory"):
        assert sorted(os.listxattr(path)) == sorted(["user.one", long, "user.empty"])
        assert [os.getxattr(path, name) for name in ("user.one", long, "user.empty")] == [
            b"1" * 100,
            b"2" * 200,
            b"",
        ]
    held = os.open(top / "copied", os.O_RDWR)
    (top / "copied").unlink()
    os.setxattr(held, "user.one", b"new")
    assert os.getxattr(held, "user.one") == b"new"
    os.close(held)


def stored(mount: MountedTree) -> list[tuple[Path, str]]:
    """Every attribute of ours in the ciphertext."""
    return [
        (path, name)
        for path in mount.tree.rglob("*")
        for name in os.listxattr(path, follow_symlinks=False)
        if name.startswith(USER_PREFIX)
    ]


def test_the_ciphertext_shows_neither_name_nor_value(mount: MountedTree) -> None:
    (mount.path / "file").touch()
    for name in ("user.telling", "user." + "telling" * 30):
        os.setxattr(mount.path / "file", name, b"telling value")
        os.setxattr(mount.path / "file", name, b"telling value")
    assert len(stored(mount)) == 2
    for path, name in stored(mount):
        assert "telling" not in name
        assert b"telling" not in os.getxattr(path, name)


def test_tampering_is_an_input_output_error(mount: MountedTree) -> None:
    mount.damaged = True
    path = mount.path / "file"
    path.touch()
    names = ["user.a", "user.b", "user." + "long" * 60]
    for name in names:
        os.setxattr(path, name, name.encode())
    (first, one), (second, two), (third, three) = stored(mount)
    values = [os.getxattr(first, one), os.getxattr(second, two), os.getxattr(third, three)]
    os.setxattr(first, one, values[1])
    os.setxattr(second, two, values[2][:20])
    os.setxattr(third, three, b"")
    assert [answer(os.getxattr, path, name) for name in names] == ["EIO"] * 3
    os.setxattr(first, USER_PREFIX + "A" * 40, b"junk")
    os.setxattr(first, USER_PREFIX + ".junk", b"junk")
    os.setxattr(first, "user.foreign", b"not ours")
    assert sorted(os.listxattr(path)) == sorted(names[:2])
    for name in names[:2]:
        os.removexattr(path, name)
    assert os.listxattr(path) == []


def test_a_locked_vault_tells_nothing(mount: MountedTree) -> None:
    path = mount.path / "file"
    path.touch()
    os.setxattr(path, "user.name", b"value")
    held = os.open(path, os.O_RDWR)
    mount.tell("lock")
    for act in (
        lambda: os.getxattr(held, "user.name"),
        lambda: os.listxattr(held),
        lambda: os.setxattr(held, "user.name", b"x"),
        lambda: os.removexattr(held, "user.name"),
    ):
        assert answer(act) == "ENOKEY"
    mount.tell("unlock")
    assert os.getxattr(held, "user.name") == b"value"
    os.close(held)


def changes(path: Path) -> dict[str, Callable[[], object]]:
    """What takes a program its file capabilities."""

    def write(flags: int) -> None:
        fd = os.open(path, os.O_RDWR | flags)
        if not flags:
            os.pwrite(fd, b"x", 0)
        os.close(fd)

    def copy() -> None:
        with path.open("r+b") as file:
            os.copy_file_range(file.fileno(), file.fileno(), 10, 0, 5000)

    def allocate() -> None:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, 50_000)

    return {
        "write": lambda: write(0),
        "O_TRUNC": lambda: write(os.O_TRUNC),
        "truncate": lambda: os.truncate(path, 5),
        "chown": lambda: os.chown(path, 1, 1),
        "fallocate": allocate,
        "copy_file_range": copy,
    }


def test_a_changed_program_loses_its_capabilities(mount: MountedTree, tmp_path: Path) -> None:
    need_root()
    for path in (mount.path / "program", tmp_path / "plain"):
        for change in changes(path).values():
            path.write_bytes(os.urandom(10_000))
            os.setxattr(path, "security.capability", CAPABILITY)
            path.read_bytes()
            os.utime(path)
            assert os.getxattr(path, "security.capability") == CAPABILITY
            change()
            assert answer(os.getxattr, path, "security.capability") == "ENODATA"


@pytest.fixture(params=["suid"])
def open_mount(request: pytest.FixtureRequest) -> Iterator[MountedTree]:
    """A mount that other users may enter, with a further option."""
    need_root()
    with tempfile.TemporaryDirectory() as name:
        need_xattrs(Path(name))
        Path(name).chmod(0o755)
        with mounted_tree(Path(name, "base"), "aes-256-gcm", "allow_other", request.param) as mount:
            yield mount


@pytest.mark.parametrize(
    ("open_mount", "counts"), [("suid", True), ("no suid", False)], indirect=["open_mount"]
)
def test_capabilities_count_only_where_root_asked_for_it(open_mount: MountedTree, counts: bool) -> None:
    top = open_mount.path
    program = top / "cat"
    shutil.copy(shutil.which("cat") or "", program)
    top.chmod(0o755)
    (top / "secret").write_text("readable")
    (top / "secret").chmod(0)
    reads = [str(program), str(top / "secret")]
    assert run_as(65_534, reads) != b"readable"
    os.setxattr(program, "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 1, 0, 0, 0))
    assert (run_as(65_534, reads) == b"readable") is counts


def run_as(uid: int, command: list[str]) -> bytes:
    return subprocess.run(
        command, user=uid, group=uid, extra_groups=[], capture_output=True, check=False
    ).stdout


def test_trusted_attributes_are_for_root(open_mount: MountedTree) -> None:
    path = open_mount.path / "file"
    open_mount.path.chmod(0o755)
    path.touch()
    path.chmod(0o666)
    os.setxattr(path, "trusted.secret", b"value")
    os.setxattr(path, "user.open", b"value")
    assert sorted(os.listxattr(path)) == ["trusted.secret", "user.open"]
    os.seteuid(65_534)
    try:
        assert os.listxattr(path) == ["user.open"]
        assert answer(os.getxattr, path, "trusted.secret") == "ENODATA"
        assert answer(os.setxattr, path, "trusted.secret", b"") == "EPERM"
    finally:
        os.seteuid(0)


def test_objects_without_user_attributes_have_trusted_ones(mount: MountedTree) -> None:
    need_root()
    for kind in ("link", "fifo"):
        path = make(mount.path, kind)
        os.setxattr(path, "trusted.name", b"value", follow_symlinks=False)
        mount.remount()
        assert stat.S_IFMT(path.lstat().st_mode) in (stat.S_IFLNK, stat.S_IFIFO)
        assert os.getxattr(path, "trusted.name", follow_symlinks=False) == b"value"
        assert os.listxattr(path, follow_symlinks=False) == ["trusted.name"]


@contextlib.contextmanager
def store_without_attributes(folder: Path) -> Iterator[None]:
    need_root()
    subprocess.run(["mount", "-t", "ramfs", "ramfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_store_without_attributes(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    with store_without_attributes(base), mounted_tree(base) as mount:
        path = mount.path / "file"
        old = os.umask(0o027)
        try:
            path.write_text("text")
        finally:
            os.umask(old)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        os.chown(path, 1, 1)
        path.write_text("longer text")
        for name in ("user.name", "security.capability", "system.posix_acl_access"):
            assert answer(os.setxattr, path, name, b"") == "ENOTSUP"
        assert answer(os.getxattr, path, "user.name") == "ENOTSUP"
        assert answer(os.listxattr, path) in ([], "ENOTSUP")
        assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("longer text", 0o604)
