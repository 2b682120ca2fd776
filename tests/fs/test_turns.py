"""Turns among hosts on one ciphertext file: two open files of one process are two hosts to a flock."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest
from support.direct_tree import DirectTree

from phonevault.fs.contents import turns
from phonevault.fs.contents.gcm_file import GcmFile
from phonevault.fs.format.layout import Layout
from phonevault.fs.keys import TreeKeys
from phonevault.fuse import abi
from phonevault.fuse.abi import Opcode

LAYOUT = Layout(4096)


class Host:
    def __init__(self, path: Path, keys: TreeKeys, flags: int = os.O_RDWR) -> None:
        self.fd = os.open(path, flags | os.O_CREAT, 0o600)
        self.file, self.keys = GcmFile(self.fd, LAYOUT, shared=True), keys
        self.scratch = [memoryview(bytearray(LAYOUT.scratch_bytes(1 << 17))) for _ in range(2)]

    def write(self, offset: int, data: bytes) -> None:
        self.file.write(self.keys, offset, memoryview(data), *self.scratch)

    def append(self, data: bytes) -> None:
        self.file.append(self.keys, memoryview(data), *self.scratch)

    def read(self, offset: int = 0, size: int = 100_000) -> bytes:
        return bytes(self.file.read(self.keys, offset, size, *self.scratch))

    def cut(self, size: int) -> None:
        self.file.truncate(self.keys, size, *self.scratch)

    def close(self) -> None:
        self.file.wipe()
        os.close(self.fd)


def test_a_host_sees_key_length_and_sparse_flag_of_another(tmp_path: Path, keys: TreeKeys) -> None:
    one, two = Host(tmp_path / "f", keys), Host(tmp_path / "f", keys)
    one.write(0, b"first" * 1000)
    assert two.read() == b"first" * 1000
    one.cut(0)
    assert two.read() == b""
    two.append(b"second")
    assert one.read() == b"second"
    one.append(b" third")
    two.write(100_000, b"end")
    assert one.read(size=200_000) == b"second third".ljust(100_000, b"\0") + b"end"
    one.cut(8)
    assert two.read() == b"second t"
    one.close()
    two.close()


def test_a_reader_waits_for_a_writer_and_a_lock_of_the_vault_for_nobody(
    tmp_path: Path, keys: TreeKeys
) -> None:
    one = Host(tmp_path / "f", keys)
    one.write(0, b"text")
    reader = Host(tmp_path / "f", keys, os.O_RDONLY)
    other = os.open(tmp_path / "f", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    found: list[bytes] = []
    waiting = threading.Thread(target=lambda: found.append(reader.read()))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    reader.file.wipe()
    os.close(other)
    waiting.join(20)
    assert found == [b"text"]
    one.close()
    reader.close()


def test_a_store_without_locks_is_used_without(
    tmp_path: Path, keys: TreeKeys, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(turns.fcntl, "flock", refused)
    one, two = Host(tmp_path / "f", keys), Host(tmp_path / "f", keys)
    for number in range(5):
        one.append(b"%d" % number)
        assert two.read() == b"01234"[: number + 1]
    assert [record.message.count("no locks") for record in caplog.records] == [2, 2], (
        "one line for each open file"
    )
    one.close()
    two.close()


def test_an_error_of_the_lock_ends_the_request_and_not_the_file(
    tmp_path: Path, keys: TreeKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Host(tmp_path / "f", keys)
    one.write(0, b"text")
    real = fcntl.flock

    def failing(fd: int, how: int) -> None:
        if how != fcntl.LOCK_UN:
            raise OSError(errno.EIO, "the server is gone")
        real(fd, how)

    monkeypatch.setattr(turns.fcntl, "flock", failing)
    with pytest.raises(OSError) as caught:
        one.read()
    assert caught.value.errno == errno.EIO
    monkeypatch.setattr(turns.fcntl, "flock", real)
    assert one.read() == b"text"
    one.close()


def test_a_file_opened_for_writing_meanwhile_is_locked_all_the_same(tmp_path: Path, keys: TreeKeys) -> None:
    """The lock that a reader waits for goes with the description that is replaced; it takes one on the new description."""
    Host(tmp_path / "f", keys).write(0, b"text")
    reader = Host(tmp_path / "f", keys, os.O_RDONLY)
    other = os.open(tmp_path / "f", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    reading, done = threading.Event(), threading.Event()

    def turn() -> None:
        with reader.file.lock:
            reading.set()
            done.wait(20)

    thread = threading.Thread(target=turn)
    thread.start()
    thread.join(0.2)
    again = os.open(tmp_path / "f", os.O_RDWR)
    with reader.file.guard:
        os.dup2(again, reader.fd, inheritable=False)
    os.close(again)
    fcntl.flock(other, fcntl.LOCK_UN)
    assert reading.wait(20)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    done.set()
    thread.join(20)
    os.close(other)
    reader.close()


@pytest.mark.parametrize("cipher", ["aes-256-gcm", "aes-256-xts"])
def test_a_request_that_waits_across_a_lock_of_the_vault_gets_no_key(tmp_path: Path, cipher: str) -> None:
    tree = DirectTree(tmp_path / "tree", shared=True, cipher=cipher)
    node = tree.create(b"f")
    tree.ask(Opcode.OPEN, node, abi.OPEN_IN.pack(os.O_RDWR, 0))
    tree.ask(Opcode.WRITE, node, abi.WRITE_IN.pack(0, 0, 4, 0, 0, 0, 0) + b"text")
    (path,) = (one for one in (tmp_path / "tree").iterdir() if not one.name.startswith("phonevault"))
    before = path.read_bytes()
    other = os.open(path, os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    told: list[int | None] = []

    def ask() -> None:
        try:
            tree.ask(Opcode.WRITE, node, abi.WRITE_IN.pack(0, 0, 4, 0, 0, 0, 0) + b"more")
        except OSError as error:
            told.append(error.errno)

    waiting = threading.Thread(target=ask)
    waiting.start()
    waiting.join(0.2)
    tree.filesystem.lock()
    os.close(other)
    waiting.join(20)
    assert told == [errno.ENOKEY]
    assert path.read_bytes() == before
