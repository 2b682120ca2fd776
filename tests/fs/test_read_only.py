"""Read-only mounts, and mounts of a read-only backing store: all can be read, nothing changed, and every try answers EROFS."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.mounted_tree import MountedTree, mounted_tree
from support.read_only_store import read_only_store

from phonevault.fs.syscalls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, fallocate

pytestmark = pytest.mark.mount

CIPHERS = ["aes-256-gcm", "aes-256-xts"]
LONG = "long" * 60


def furnish(top: Path) -> None:
    (top / "f").write_bytes(b"contents" * 5000)
    (top / LONG).write_text("long")
    (top / "dir").mkdir()
    (top / "dir" / "below").touch()
    (top / "empty").mkdir()
    (top / "link").symlink_to("f")
    (top / "long link").symlink_to("l" * 4000)
    os.setxattr(top / "f", "user.name", b"value")


def changes(top: Path) -> dict[str, Callable[[], object]]:
    return {
        "write": lambda: (top / "f").open("r+b"),
        "append": lambda: (top / "f").open("ab"),
        "truncating open": lambda: (top / "f").open("wb"),
        "truncate": lambda: os.truncate(top / "f", 5),
        "create": lambda: (top / "new").touch(),
        "create, long name": lambda: (top / ("new" * 80)).touch(),
        "file without a name": lambda: os.open(top, os.O_TMPFILE | os.O_RDWR),
        "mkdir": lambda: (top / "new").mkdir(),
        "fifo": lambda: os.mkfifo(top / "new"),
        "symlink": lambda: os.symlink("f", top / "new"),
        "hard link": lambda: os.link(top / "f", top / "new"),
        "unlink": lambda: (top / "f").unlink(),
        "unlink, long name": lambda: (top / LONG).unlink(),
        "rmdir": lambda: (top / "empty").rmdir(),
        "rename": lambda: os.rename(top / "f", top / "new"),
        "rename over": lambda: os.rename(top / "f", top / LONG),
        "rename a directory over": lambda: os.rename(top / "dir", top / "empty"),
        "chmod": lambda: (top / "f").chmod(0o600),
        "chown": lambda: os.chown(top / "f", 1, 1),
        "utime": lambda: os.utime(top / "f"),
        "utime of a link": lambda: os.utime(top / "link", follow_symlinks=False),
        "setxattr": lambda: os.setxattr(top / "f", "user.name", b"value"),
        "setxattr of another": lambda: os.setxattr(top / "dir", "user.new", b"value"),
        "removexattr": lambda: os.removexattr(top / "f", "user.name"),
        "removal of a list": lambda: os.removexattr(top / "dir", "system.posix_acl_default"),
    }


def check_refused_and_readable(top: Path) -> None:
    for what, change in changes(top).items():
        with pytest.raises(OSError) as caught:
            change()
        assert caught.value.errno == errno.EROFS, what
    with (top / "f").open("rb") as file:
        for mode in (0, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE):
            with pytest.raises(OSError) as caught:
                fallocate(file.fileno(), mode, 0, 4096)
            assert caught.value.errno == errno.EBADF
        assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == 40_000
    assert sorted(os.listdir(top)) == sorted(["f", LONG, "dir", "empty", "link", "long link"])
    assert (top / "link").read_bytes() == b"contents" * 5000
    assert (top / LONG).read_text() == "long"
    assert os.listdir(top / "dir") == ["below"]
    assert os.getxattr(top / "f", "user.name") == b"value"
    assert os.listxattr(top / "dir") == []
    assert len(os.readlink(top / "long link")) == 4000


def snapshot(tree: Path) -> list[tuple[str, int, int, int]]:
    found = []
    for path in sorted(tree.rglob("*")):
        status = path.lstat()
        found.append((str(path), status.st_mode, status.st_mtime_ns, status.st_ctime_ns))
    return found


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("store", ["", "read-only store"])
@pytest.mark.parametrize("options", [(), ("read_only",), ("shared",)], ids=["rw", "ro", "shared"])
def test_nothing_can_be_changed(tmp_path: Path, cipher: str, store: str, options: tuple[str, ...]) -> None:
    if not store and "read_only" not in options:
        return
    with mounted_tree(tmp_path, cipher) as mount:
        furnish(mount.path)
    before = snapshot(tmp_path / "tree")
    with contextlib.ExitStack() as stack:
        if store:
            stack.enter_context(read_only_store(tmp_path / "tree"))
        mounted: MountedTree = stack.enter_context(mounted_tree(tmp_path, cipher, *options))
        check_refused_and_readable(mounted.path)
        mounted.tell("lock")
        mounted.tell("unlock")
        check_refused_and_readable(mounted.path)
    assert snapshot(tmp_path / "tree") == before
