"""Wrapping file keys anew while the tree is in use: nothing that is moved, opened or made meanwhile is passed over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.direct_tree import DirectTree
from support.file_epochs import file_epochs

from keyslots.secret import Secret
from phonevault.fs import rewrap
from phonevault.fs.rewrap import Rewrap
from phonevault.fs.walk import walk
from phonevault.fuse import abi
from phonevault.fuse.abi import Opcode

OLD = (1234567890_123456789, 1034567890_987654321)


def write(tree: DirectTree, node: int, data: bytes) -> None:
    """The file stays open."""
    tree.ask(Opcode.OPEN, node, abi.OPEN_IN.pack(os.O_RDWR, 0))
    tree.ask(Opcode.WRITE, node, abi.WRITE_IN.pack(0, 0, len(data), 0, 0, 0, 0) + data)


def read(tree: DirectTree, node: int, size: int) -> bytes:
    return tree.ask(Opcode.READ, node, abi.READ_IN.pack(0, 0, size, 0, 0, 0, 0))


def close(tree: DirectTree, node: int) -> None:
    tree.ask(Opcode.RELEASE, node, bytes(abi.RELEASE_IN.size))


@pytest.fixture(params=["aes-256-gcm", "aes-256-xts"])
def tree(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[DirectTree]:
    tree = DirectTree(tmp_path / "tree", cipher=request.param)
    yield tree
    tree.filesystem.lock()
    tree.filesystem.close()


def begin(tree: DirectTree) -> Rewrap:
    with Secret.take(bytearray(range(32, 64))) as vmk:
        tree.filesystem.adopt_epoch(2, vmk)
    return tree.filesystem.rewrap({2})


def finished(tree: DirectTree, run: Rewrap) -> None:
    called: list[bool] = []
    assert run.run(lambda: called.append(True))
    assert called == [True]


def fill(tree: DirectTree, parent: int = 1, count: int = 3) -> list[int]:
    made = []
    for number in range(count):
        node = tree.create(b"file %d" % number, parent=parent)
        write(tree, node, b"contents %d" % number)
        close(tree, node)
        made.append(node)
    return made


def test_every_file_open_or_not_gets_the_new_epoch_and_nothing_else_changes(
    tree: DirectTree, tmp_path: Path
) -> None:
    below = tree.mkdir(b"d" * 200)
    nodes = fill(tree) + fill(tree, below)
    tree.create(b"empty")
    tree.symlink(b"link", b"x" * 4000)
    write(tree, nodes[0], b"held open")
    paths = [Path(f.name) for f in os.scandir(tmp_path / "tree") if f.is_file()]
    for path in paths:
        os.utime(tmp_path / "tree" / path, ns=OLD)
    run = begin(tree)
    finished(tree, run)
    assert run.progress.wrapped == 6
    assert file_epochs(tmp_path / "tree") == [2] * 6
    assert all((tmp_path / "tree" / path).stat().st_mtime_ns == OLD[1] for path in paths)
    assert read(tree, nodes[0], 20)[:9] == b"held open"
    for number, node in enumerate(nodes[1:], 1):
        tree.ask(Opcode.OPEN, node, abi.OPEN_IN.pack(os.O_RDONLY, 0))
        assert read(tree, node, 20) == b"contents %d" % (number % 3)


def test_an_unlinked_open_file_keeps_working(tree: DirectTree) -> None:
    node = tree.create(b"gone")
    write(tree, node, b"still here")
    tree.unlink(b"gone")
    run = begin(tree)
    finished(tree, run)
    assert run.progress.wrapped == 1
    assert read(tree, node, 20) == b"still here"


Move = Callable[[DirectTree, int, int], None]


def move_file(tree: DirectTree, source: int, target: int) -> None:
    tree.rename(b"file 0", b"moved", source=source, target=target)


def move_directory(tree: DirectTree, source: int, target: int) -> None:
    tree.rename(b"sub", b"moved", source=source, target=target)


def link_and_unlink(tree: DirectTree, source: int, target: int) -> None:
    tree.link(tree.find(b"file 0", source), b"moved", target)
    tree.unlink(b"file 0", source)


@pytest.mark.parametrize("move", [move_file, move_directory, link_and_unlink])
def test_what_moves_into_a_place_that_was_passed_is_not_missed(
    tree: DirectTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, move: Move
) -> None:
    places = [tree.mkdir(b"a"), tree.mkdir(b"b")]
    for place in places:
        fill(tree, place)
        fill(tree, tree.mkdir(b"sub", parent=place))
    inodes = {tree.status(place)[0]: place for place in places}
    walks: list[list[int]] = []

    def moving(*arguments: Any) -> Iterator[tuple[int, os.DirEntry[str]]]:
        """In the first pass (the walk after the count), before the second directory is entered, something comes from it into the first."""
        walks.append([])
        for fd, entry in walk(*arguments):
            if entry.inode() in inodes:
                walks[-1].append(inodes[entry.inode()])
                if len(walks) == 2 and len(walks[1]) == 2:
                    move(tree, walks[1][1], walks[1][0])
            yield fd, entry

    monkeypatch.setattr(rewrap, "walk", moving)
    run = begin(tree)
    finished(tree, run)
    assert file_epochs(tmp_path / "tree") == [2] * 12


def test_a_damaged_header_keeps_the_older_key(tree: DirectTree, tmp_path: Path) -> None:
    nodes = fill(tree)
    victim = next(
        Path(f.path) for f in os.scandir(tmp_path / "tree") if f.inode() == tree.status(nodes[1])[0]
    )
    with victim.open("r+b") as file:
        file.seek(50)
        byte = file.read(1)
        file.seek(50)
        file.write(bytes([byte[0] ^ 1]))
    run = begin(tree)
    assert not run.run(lambda: pytest.fail("finished"))
    assert (run.progress.wrapped, run.progress.damaged) == (2, 1)
    assert file_epochs(tmp_path / "tree") == [1, 2, 2]
    with victim.open("r+b") as file:
        file.seek(50)
        file.write(byte)
    finished(tree, tree.filesystem.rewrap({2}))
    assert file_epochs(tmp_path / "tree") == [2, 2, 2]


def test_a_stopped_run_goes_on(tree: DirectTree, tmp_path: Path) -> None:
    fill(tree, count=5)
    run = begin(tree)
    run.stop()
    assert not run.run(lambda: pytest.fail("finished"))
    finished(tree, tree.filesystem.rewrap({2}))
    assert file_epochs(tmp_path / "tree") == [2] * 5
