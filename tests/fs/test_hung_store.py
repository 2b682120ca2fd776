"""A backing store that hangs in the middle of a READ: a lock does not wait for it, and what it read goes to nobody."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.computer import wait_until
from support.direct_tree import DirectTree

from phonevault.fs.contents.sparse_file import SparseFile
from phonevault.fs.core import contents_of
from phonevault.fs.errors import KeysMissing
from phonevault.fuse import abi
from phonevault.fuse.abi import Opcode
from phonevault.fuse.gate import Mode
from phonevault.fuse.request import Request
from phonevault.fuse.session import Session

TEXT = b"plaintext of the file " * 300


class HungStore:
    """Reads of one ciphertext file hang until they are let go."""

    def __init__(self, patch: pytest.MonkeyPatch, contents: SparseFile) -> None:
        self.fd, self.reached, self.go_on = contents.fd, threading.Event(), threading.Event()
        preadv = os.preadv

        def hanging(fd: int, buffers: Sequence[memoryview], offset: int) -> int:
            if fd == self.fd:
                self.reached.set()
                assert self.go_on.wait(30)
            return preadv(fd, buffers, offset)

        patch.setattr(os, "preadv", hanging)


class OpenFiles(DirectTree):
    """A tree with two files, open."""

    def __init__(self, tree: Path, cipher: str) -> None:
        super().__init__(tree, cipher=cipher)
        self.opened = {name: self._filled(name) for name in (b"hung", b"other")}

    def _filled(self, name: bytes) -> tuple[int, int]:
        number = self.create(name)
        handle = int(abi.OPEN_OUT.unpack(self.ask(Opcode.OPEN, number, abi.OPEN_IN.pack(os.O_RDWR, 0)))[0])
        head = abi.WRITE_IN.pack(handle, 0, len(TEXT), 0, 0, os.O_RDWR, 0)
        self.ask(Opcode.WRITE, number, head + TEXT)
        return number, handle

    def contents(self, name: bytes) -> SparseFile:
        return contents_of(self.filesystem._core.nodes.get(self.opened[name][0]))

    def read(self, name: bytes) -> bytes:
        number, handle = self.opened[name]
        return self.ask(Opcode.READ, number, abi.READ_IN.pack(handle, 0, len(TEXT), 0, 0, os.O_RDWR, 0))


@pytest.fixture(params=["aes-256-gcm", "aes-256-xts"])
def tree(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[OpenFiles]:
    yield OpenFiles(tmp_path / "tree", request.param)


def test_a_lock_wipes_all_else_and_the_rest_when_it_comes_back(
    tree: OpenFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tree.read(b"hung") == tree.read(b"other") == TEXT
    keys = tree.filesystem._core.keys
    pages = list(keys.arena._pages)
    store = HungStore(monkeypatch, tree.contents(b"hung"))
    answers: list[object] = []

    def ask() -> None:
        try:
            answers.append(tree.read(b"hung"))
        except OSError as error:
            answers.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        assert store.reached.wait(30)
        tree.filesystem.lock()  # returns
        assert tree.filesystem.locked
        assert not any(any(secret.view) for secret in keys._secrets)
        assert tree.contents(b"other")._slot is None
        assert tree.contents(b"hung")._slot is not None, "it is in use"
        tree.filesystem.lock()
        with pytest.raises(KeysMissing):
            tree.read(b"other")
    finally:
        store.go_on.set()
        thread.join(30)
    wait_until(lambda: tree.contents(b"hung")._slot is None)
    wait_until(lambda: not any(any(page.view) for page in pages))
    assert answers == [TEXT]  # to the session, which keeps it (below)


class Recorder:
    """Stands for /dev/fuse."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def reply(self, unique: int, body: object) -> None:
        self.told.append(body)

    def reply_error(self, unique: int, number: int) -> None:
        self.told.append(number)


@pytest.mark.parametrize(
    "opcode", [Opcode.READ, Opcode.READLINK, Opcode.READDIR, Opcode.READDIRPLUS, Opcode.GETXATTR]
)
def test_what_comes_back_after_the_lock_is_not_told(
    tree: OpenFiles, opcode: Opcode, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(os.open(os.devnull, os.O_RDWR), tree.filesystem.operations())
    device = Recorder()
    os.close(session._device.fd)
    monkeypatch.setattr(session, "_device", device)
    request = Request(0)
    request.opcode, request.unique = opcode, 7

    def answered(asked: Request) -> bytes:
        session._gate.change(Mode.LOCKED)
        return TEXT

    session._answer(answered, request)
    assert device.told == [errno.ENOKEY]
    session._gate.change(Mode.OPEN)
    session._answer(lambda asked: TEXT, request)
    assert device.told[1:] == [TEXT]
    # A change that was made is told as it is.
    request.opcode = Opcode.WRITE
    session._answer(answered, request)
    assert device.told[2:] == [TEXT]
