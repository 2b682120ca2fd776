"""After a lock nothing in the serving process's memory opens a file or a name."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.computer import wait_until
from support.memory_scan import scan
from support.mounted_tree import mounted_tree
from support.mounted_tree_child import VAULT_ID

from keyslots import labels
from keyslots.derive import derive
from keyslots.secret import Secret
from phonevault.fs.format.file_header import HEADER_BYTES, open_header, parse_header
from phonevault.fs.keys import TreeKeys
from phonevault.fs.syscalls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, fallocate

pytestmark = pytest.mark.mount


def file_keys(tree: Path, keys: TreeKeys) -> dict[str, bytes]:
    found = {}
    for path in tree.rglob("*"):
        raw = path.read_bytes()[:HEADER_BYTES] if path.is_file() else b""
        if raw.startswith(b"PVF1"):
            key = memoryview(bytearray(32))
            open_header(raw, parse_header(raw), keys.file_keys, key)
            found[f"file key {len(found)}"] = bytes(key)
    return found


TREE_KEYS = [label for label in labels.KEY_BYTES if label != labels.HEADER_MAC]


def test_a_lock_leaves_no_key_and_no_plaintext(tmp_path: Path) -> None:
    vmk = Secret.take(bytearray(range(32)))
    secrets = {label.decode(): bytes(derive(vmk, VAULT_ID, label).view) for label in TREE_KEYS}
    plaintext, attribute = os.urandom(32), os.urandom(32)
    with mounted_tree(tmp_path) as mount:
        for number in range(40):
            (mount.path / f"f{number}").write_bytes(plaintext * 400)
        os.symlink("target", mount.path / "link")
        os.setxattr(mount.path / "f0", "user.name", attribute)
        mount.remount()
        handles = [os.open(mount.path / f"f{number}", os.O_RDWR) for number in range(40)]
        for handle in handles:
            assert os.lseek(handle, 0, os.SEEK_HOLE) == 12_800
            assert os.pread(handle, 32, 0) == plaintext
            os.pwrite(handle, b"x", 5)
            os.fsync(handle)
        assert os.copy_file_range(handles[0], handles[1], 12_000, 64, 0) == 12_000
        assert os.readlink(mount.path / "link") == "target"
        assert os.getxattr(handles[0], "user.name") == attribute
        os.setxattr(handles[1], "user.name", attribute)
        secrets |= file_keys(mount.tree, TreeKeys(vmk, VAULT_ID, 1))
        assert len(secrets) == len(TREE_KEYS) + 40
        assert scan(mount.pid, secrets), "the scan finds keys in use"
        mount.tell("lock")
        assert scan(mount.pid, {**secrets, "plaintext": plaintext, "attribute": attribute}) == {}
        mount.tell("unlock")
        assert os.pread(handles[0], 4, 8) == plaintext[8:12]
        for handle in handles:
            os.close(handle)


class Marked:
    """Makes contents that are found again in memory, each kind by its own 32 bytes."""

    def __init__(self) -> None:
        self.marks: dict[str, bytes] = {}

    def content(self, kind: str, size: int) -> bytes:
        mark = self.marks.setdefault(f"{kind}, {size} bytes", os.urandom(32))
        return (mark * (size // 32 + 1))[:size]


def changes(path: Path, size: int, marked: Marked) -> Iterator[int]:
    """Handles a file of ``size`` bytes in every way that moves its plaintext, and yields descriptors that stay open."""
    fd = os.open(path, os.O_RDWR)
    yield fd
    for offset in range(0, size, size // 5 + 1):
        os.pread(fd, 37, offset)
    os.pwrite(fd, marked.content("written later", size // 2 + 1), 5)
    os.fsync(fd)
    copy = os.open(f"{path}.copy", os.O_RDWR | os.O_CREAT)
    yield copy
    for offset in (0, size + 7):
        os.copy_file_range(fd, copy, size, 0, offset)
    end = os.open(path, os.O_WRONLY | os.O_APPEND)
    yield end
    for _ in range(3):
        os.write(end, marked.content(f"record of a file of {size}", 60))
        os.fsync(end)
    fallocate(copy, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 3, size // 3 + 1)
    os.ftruncate(fd, size * 2 // 3 + 1)


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
@pytest.mark.parametrize("cipher", ["aes-256-gcm", "aes-256-xts"])
def test_a_lock_leaves_no_plaintext_of_files_and_attributes_of_many_sizes(
    tmp_path: Path, cipher: str, shared: bool
) -> None:
    marked = Marked()
    sizes = [16, 33, 300, 640, 1500, 4096, 5000, 12_800, 70_000, 300_000]
    with mounted_tree(tmp_path, cipher, *["shared"] * shared) as mount, ExitStack() as kept:
        paths = [(mount.path / f"{size}.{number}", size) for size in sizes for number in range(4)]
        for path, size in paths:
            path.write_bytes(marked.content("first", size))
        mount.remount()  # so that the kernel holds none of it
        direct: list[int] = []
        for path, size in paths:
            for fd in changes(path, size, marked):
                kept.callback(os.close, fd)
            direct.append(os.open(path, os.O_RDWR | os.O_DIRECT))
            kept.callback(os.close, direct[-1])
            with mmap.mmap(-1, 8192) as pages:
                pages[:] = marked.content("written past the cache", 8192)
                os.pwrite(direct[-1], pages, 0)
            for name in ("user.short", "user." + "l" * 230):
                os.setxattr(path, name, marked.content(f"value of {name[:8]}", size % 1009))
                assert len(os.getxattr(path, name)) == size % 1009
            assert len(os.listxattr(path)) == 2
        mount.tell("lock")
        for fd in direct:
            with mmap.mmap(-1, 8192) as pages, pytest.raises(OSError, match="key"):
                pages[:] = marked.content("sent to a locked folder", 8192)
                os.pwrite(fd, pages, 0)
        found = scan(mount.pid, marked.marks)
        mount.tell("unlock")
        assert found == {}


def test_a_lock_leaves_nothing_of_a_write_that_waited_in_a_frozen_folder(tmp_path: Path) -> None:
    marked = Marked()
    with mounted_tree(tmp_path) as mount, ThreadPoolExecutor(48) as writers:
        handles = [os.open(mount.path / str(number), os.O_RDWR | os.O_CREAT) for number in range(48)]
        for number, fd in enumerate(handles):
            # To the kernel's cache.
            os.write(fd, marked.content("written", (100, 640, 5000, 30_000)[number % 4]))
        mount.tell("freeze")
        synced = [writers.submit(os.fsync, fd) for fd in handles]
        # Until they have come, and wait.
        wait_until(lambda: set(scan(mount.pid, marked.marks)) == set(marked.marks))
        mount.tell("lock")
        for done in synced:  # an FSYNC may come when the lock is there; the data has come home before
            refused = done.exception()
            assert refused is None or (isinstance(refused, OSError) and refused.errno == errno.ENOKEY)
        found = scan(mount.pid, marked.marks)
        mount.tell("unlock")
        for fd in handles:
            assert os.pread(fd, 32, 0) == marked.marks[f"written, {os.fstat(fd).st_size} bytes"]
            os.close(fd)
    assert found == {}
