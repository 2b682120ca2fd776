"""Directory positions: an entry that is there all the time is seen exactly once, whatever comes and goes and whoever reads."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.direct_tree import DirectTree
from support.mounted_tree import MountedTree, mounted_tree

from keyslots.secret import Secret
from phonevault.fs import listing
from phonevault.fs.core import Core
from phonevault.fs.listing import Listing
from phonevault.fs.requests import directories
from phonevault.fuse import abi
from phonevault.fuse.abi import Opcode


def stored_name(number: int) -> str:
    return f"stored-{number}"


def listed(path: Path) -> Listing:
    fd = os.open(path, os.O_PATH)
    try:
        return Listing(fd)
    finally:
        os.close(fd)


def test_positions_ascend_and_are_the_same_in_every_listing(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / stored_name(number)).touch()
    (tmp_path / "phonevault.dirid").touch()
    first = listed(tmp_path)
    assert sorted(first.stored) == sorted(map(stored_name, range(300)))
    assert list(first.positions) == sorted(set(first.positions))
    assert first.positions[0] > 2
    assert first.positions[-1] < 1 << 63
    for number in range(0, 300, 2):
        (tmp_path / stored_name(number)).unlink()
    second = listed(tmp_path)
    assert len(second.stored) == 150
    places = dict(zip(first.stored, first.positions, strict=True))
    for name, position, inode in zip(second.stored, second.positions, second.inodes, strict=True):
        assert places[name] == position
        assert (tmp_path / name).stat().st_ino == inode


@given(st.lists(st.integers(0, (1 << 62) - 1), max_size=40), st.integers(0, 5))
def test_equal_hashes_are_told_apart(hashes: list[int], equal: int) -> None:
    positions = listing.array("Q", sorted(hashes + hashes[:equal]))
    listing._separate(positions)
    assert list(positions) == sorted(set(positions))


def test_entries_with_equal_hashes_are_all_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "position_of", lambda stored: 1000 + len(stored) % 2)
    tree = DirectTree(tmp_path / "tree")
    names = {b"%d" % number + b"x" * (number % 7) for number in range(500)}
    for name in names:
        tree.mknod(name, 0o100600)
    found = tree.listing()
    assert len(found) == len(names)
    assert set(found) == names


def test_a_position_lasts_across_handles_and_changes(tmp_path: Path) -> None:
    """Without the kernel: each part is read through a handle of its own, and half of the entries come and go in between."""
    tree = DirectTree(tmp_path / "tree")
    chance = random.Random(1)
    staying = {b"staying %d" % number for number in range(200)}
    passing: set[bytes] = set()
    for name in staying:
        tree.mknod(name, 0o100600)
    for _ in range(3):
        position, seen = 0, []
        while part := tree.read_once(tree.opendir(), position, plus=bool(position % 2)):
            seen += [name for name, _, _ in part]
            position = part[-1][1]
            for name in chance.sample(sorted(passing), len(passing) // 2):
                tree.unlink(name)
                passing.discard(name)
            for _ in range(40):
                name = b"passing %d" % chance.randrange(10**6)
                if name not in passing:
                    tree.mknod(name, 0o100600)
                    passing.add(name)
        assert len(seen) == len(set(seen))
        assert staying | {b".", b".."} <= set(seen)


def test_the_listing_is_let_go_at_the_end(tmp_path: Path) -> None:
    tree = DirectTree(tmp_path / "tree")
    tree.create(b"f")
    handle = tree.opendir()
    part = tree.read_once(handle, 0)
    assert tree.filesystem._directories._listings
    assert tree.read_once(handle, part[-1][1]) == []
    assert not tree.filesystem._directories._listings
    assert tree.read_once(handle, 0) == part


# -- on a mount -------------------------------------------------------------------------------------------


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[MountedTree]:
    with mounted_tree(tmp_path) as tree:
        yield tree


class Directory:
    """A directory stream of the C library: opendir, readdir, telldir, seekdir."""

    def __init__(self, path: Path) -> None:
        import ctypes

        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.opendir.restype = self._libc.readdir64.restype = ctypes.c_void_p
        self._libc.telldir.restype = ctypes.c_long
        self._libc.telldir.argtypes = self._libc.readdir64.argtypes = [ctypes.c_void_p]
        self._libc.closedir.argtypes = [ctypes.c_void_p]
        self._libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
        self._stream = self._libc.opendir(os.fsencode(path))
        self._string_at = ctypes.string_at
        assert self._stream

    def read(self) -> bytes | None:
        """The next name; None at the end. struct dirent64: u64 ino, s64 off, u16 reclen, u8 type, name."""
        entry = self._libc.readdir64(self._stream)
        return self._string_at(entry + 19) if entry else None

    def tell(self) -> int:
        return int(self._libc.telldir(self._stream))

    def seek(self, position: int) -> None:
        self._libc.seekdir(self._stream, position)

    def close(self) -> None:
        self._libc.closedir(self._stream)


@pytest.mark.mount
@pytest.mark.anyone
def test_seekdir_takes_another_handles_position(mount: MountedTree) -> None:
    for number in range(500):
        (mount.path / f"file {number}").touch()
    first, second = Directory(mount.path), Directory(mount.path)
    order, places = [], []
    while (name := first.read()) is not None:
        order.append(name)
        places.append(first.tell())
    assert len(set(places)) == len(places) == 502
    for index in random.Random(2).sample(range(501), 60):
        second.seek(places[index])
        assert second.read() == order[index + 1]
    gone = next(name for name in order[100:] if name.startswith(b"file"))
    (mount.path / os.fsdecode(gone)).unlink()
    (mount.path / "new").touch()
    for index in (99, 100, 101, 300):
        for stream in (first, second):
            stream.seek(places[index])
            # POSIX leaves open whether a stream shows what came or went after its opendir.
            found = [name for name in iter(stream.read, None) if name not in (b"new", gone)]
            assert found == [name for name in order[index + 1 :] if name != gone]
    first.close()
    second.close()


@pytest.mark.mount
@pytest.mark.anyone
@pytest.mark.parametrize("options", [(), ("shared",)], ids=["alone", "shared"])
def test_readers_of_a_changing_directory_miss_nothing(tmp_path: Path, options: tuple[str, ...]) -> None:
    with mounted_tree(tmp_path, "aes-256-gcm", *options) as mount:
        chance = random.Random(3)
        staying = {b"staying %d" % number for number in range(600)}
        for name in staying:
            (mount.path / os.fsdecode(name)).touch()
        passing: list[Path] = []
        streams = [Directory(mount.path) for _ in range(3)]
        seen: list[list[bytes]] = [[] for _ in streams]
        going = [0, 1, 2]
        while going:
            number = chance.choice(going)
            for _ in range(chance.randrange(1, 60)):
                name = streams[number].read()
                if name is None:
                    going.remove(number)
                    break
                seen[number].append(name)
            if chance.random() < 0.5 and passing:
                path = passing.pop(chance.randrange(len(passing)))
                if chance.random() < 0.5:
                    path.rename(mount.path / f"renamed {chance.randrange(10**9)}")
                else:
                    path.unlink()
            else:
                passing.append(mount.path / f"passing {chance.randrange(10**9)}")
                passing[-1].touch()
        for stream in streams:
            stream.close()
        for names in seen:
            assert len(names) == len(set(names))
            assert staying <= set(names)


@pytest.mark.mount
@pytest.mark.anyone
def test_inode_numbers_are_those_of_the_backing_store_everywhere(mount: MountedTree) -> None:
    (mount.path / "folder").mkdir()
    for number in range(50):
        (mount.path / "folder" / f"{number}").touch()
    (mount.path / "folder" / "link").symlink_to("x")
    os.mkfifo(mount.path / "folder" / "fifo")
    os.link(mount.path / "folder" / "0", mount.path / "folder" / "hard")
    (backing,) = (entry for entry in mount.tree.iterdir() if entry.is_dir())
    stored = {
        entry.stat(follow_symlinks=False).st_ino for entry in os.scandir(backing) if "." not in entry.name
    }
    for _ in range(2):
        with os.scandir(mount.path / "folder") as entries:
            inodes = {entry.name: entry.inode() for entry in entries}
        assert set(inodes.values()) == stored
        for name, inode in inodes.items():
            assert os.lstat(mount.path / "folder" / name).st_ino == inode
        mount.remount()
    assert (mount.path / "folder").stat().st_ino == backing.stat().st_ino


def test_a_listing_tells_again_only_what_the_kernel_may_have_lost(tmp_path: Path) -> None:
    tree = DirectTree(tmp_path / "tree")
    try:
        numbers = {name: tree.create(name) for name in (b"a", b"b", b"c")}
        assert tree.told_by_listing() == numbers, "just made, and used since"
        assert set(tree.told_by_listing().values()) == {0}
        tree.status(numbers[b"b"])
        assert tree.told_by_listing() == {b"a": 0, b"b": numbers[b"b"], b"c": 0}
        tree.rename(b"c", b"d")
        tree.link(numbers[b"a"], b"e")
        told = tree.told_by_listing()
        assert (told[b"b"], told[b"d"]) == (0, numbers[b"c"])
        assert told[b"a"] == numbers[b"a"], "told under its other name last"
        tree.unlink(b"e")
        assert tree.told_by_listing()[b"a"] == numbers[b"a"]
        tree.filesystem.lock()
        tree.filesystem.unlock(Secret.take(bytearray(range(32))))
        assert tree.told_by_listing() == {name: tree.find(name) for name in (b"a", b"b", b"d")}
    finally:
        tree.filesystem.lock()
        tree.filesystem.close()


def test_a_large_directory_tells_of_its_first_entries_and_of_all_to_who_looks_at_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directories, "_WITH_ATTRIBUTES", 50)
    made = DirectTree(tmp_path / "tree")
    names = {b"entry %d" % number for number in range(120)}
    for name in names:
        made.create(name)
    made.filesystem.close()

    def told(looks: bool) -> list[int]:
        """Numbers told of the entries in their order; who ``looks`` asks for one that comes without attributes."""
        tree, position, found = DirectTree(tmp_path / "tree"), 0, {}
        while True:
            more, position = tree.told_behind(position)
            if not more:
                break
            found |= more
            unknown = [name for name, number in more.items() if not number]
            if looks and unknown:
                assert tree.find(unknown[0])
        assert set(found) == names
        return list(found.values())

    plain, asked = told(looks=False), told(looks=True)
    assert all(plain[:50]) and not any(plain[50:])
    assert all(asked[:50]) and 0 < asked.count(0) < 30 and all(asked[-40:])


def test_an_entry_whose_status_cannot_be_read_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = DirectTree(tmp_path / "tree")
    for number in range(9):
        tree.create(b"entry %d" % number)
    ill = tree.filesystem._core.stored(tree.filesystem._core.nodes.root, b"entry 4")
    tree.filesystem.lock()
    tree = DirectTree(tmp_path / "tree")
    stat_entry = Core.stat_entry

    def failing(core: Core, directory_fd: int, stored: str) -> os.stat_result:
        if stored == ill:
            raise OSError(errno.EIO, "a bad sector")
        return stat_entry(core, directory_fd, stored)

    monkeypatch.setattr(Core, "stat_entry", failing)
    told = tree.told_by_listing()
    assert len(told) == 9
    assert [name for name, number in told.items() if not number] == [b"entry 4"]
    with pytest.raises(OSError, match="bad sector"):
        tree.find(b"entry 4")


def test_an_answer_that_is_not_given_counts_nothing(tmp_path: Path) -> None:
    made = DirectTree(tmp_path / "tree")
    for name in (b"a", b"n" * 255):
        made.create(name)
    made.filesystem.lock()
    tree = DirectTree(tmp_path / "tree")
    body = abi.READ_IN.pack(0, 0, 4096, 0, 0, 0, 0)
    for opcode in (Opcode.READDIRPLUS, Opcode.READDIR):
        tree.filesystem.operations().take_back(opcode, tree.ask(opcode, 1, body))
    assert list(tree.filesystem.operations().known_nodes()) == [1]


def test_of_a_shared_tree_everything_is_told_each_time(tmp_path: Path) -> None:
    tree = DirectTree(tmp_path / "tree", shared=True)
    try:
        number = tree.create(b"a")
        for _ in range(2):
            assert tree.told_by_listing() == {b"a": number}
    finally:
        tree.filesystem.lock()
        tree.filesystem.close()
