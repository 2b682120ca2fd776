"""A rotation of contents, ended at any change of the disk: the vault opens, all is as it was, and doing it again completes it."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from support.file_epochs import file_epochs
from support.rotation_world import (
    OpenTree,
    OrderOfTheDisk,
    View,
    World,
    count_changes,
    in_child,
    rotate_failing_at,
    rotate_killed_at,
)

from phonevault.errors import RotationUnderWay
from phonevault.fs.format.journal import DIRECTORY as JOURNAL
from phonevault.fs.syscalls import RENAME_EXCHANGE
from phonevault.fs.xattr_store import carries_xattrs
from phonevault.fuse import abi
from phonevault.fuse.abi import Opcode

CIPHERS = ["aes-256-gcm", "aes-256-xts"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory, where that has attributes: each of some thousand changes is brought home."""
    memory = Path("/dev/shm")
    if not (os.access(memory, os.W_OK) and carries_xattrs(memory)):
        yield tmp_path_factory.mktemp("worlds")
        return
    with tempfile.TemporaryDirectory(prefix="phonevault-rotation-", dir=memory) as found:
        yield Path(found)


@pytest.fixture(scope="module", params=CIPHERS)
def pattern(request: pytest.FixtureRequest, place: Path) -> World:
    world = World(place / str(request.param))
    world.make(request.param)
    return world


@pytest.fixture
def world(pattern: World, place: Path) -> World:
    return pattern.copy(place / "w")


def assert_done(world: World) -> None:
    """Nothing is left that needs the older key."""
    header = world.header
    epoch = header.epochs.current
    assert header.epochs.to_json() == {"current": epoch, "files": epoch, "live": [epoch], "names": epoch}
    assert header.flags == ("anchor",)
    assert set(file_epochs(world.vault / "tree")) == {epoch}
    assert not (world.vault / "rotation").exists()
    assert not world.problems()


def stored(world: World) -> set[str]:
    return {path.name for path in (world.vault / "tree").rglob("*") if "." not in path.name}


def test_everything_is_encrypted_anew_and_nothing_else_changes(world: World) -> None:
    before, names = world.view(), stored(world)
    blocks = {path.read_bytes()[-40:] for path in (world.vault / "tree").rglob("*") if path.is_file()}
    assert world.rotate().complete
    assert world.view() == before
    assert_done(world)
    left = names & stored(world)
    assert all(len(name) == 22 for name in left), (
        left
    )  # sidecars of links: their ids are random, not encrypted
    after = {path.read_bytes()[-40:] for path in (world.vault / "tree").rglob("*") if path.is_file()}
    assert not (blocks - {b""}) & after


WHILE_ITS_FOLDER_IS_MADE = 40
"""The first changes of a rotation: the header, the folder, the logs in it, the first border."""


def between(view: View) -> View:
    """What is promised of an interrupted rotation: all but the number of names of a symbolic link that has several."""
    return {
        path: (*seen[:6], *seen[7:]) if path and stat.S_ISLNK(seen[0]) else seen
        for path, seen in view.items()
    }


def killed_at(pattern: World, root: Path, numbers: Iterable[int]) -> None:
    """Each kill in a fresh copy; then another one on the way on; then the end."""
    for number in numbers:
        for after in (False, True):
            world = pattern.copy(root / "w")
            before = world.view()
            rotate_killed_at(world, number, after=after)
            if number % 5 == 0:
                with contextlib.suppress(RotationUnderWay):
                    assert between(world.view(read_only=True)) == between(before), number
            where = f"killed {'after' if after else 'before'} change {number}"
            assert between(world.view()) == between(before), where
            if number % 3 == 0:
                rotate_killed_at(world, number // 2 + 1, after=after)
            if number % 2:
                assert between(world.view()) == between(before), where
                assert not world.problems(), where
            assert world.rotate().complete, where
            assert world.view() == before, where
            assert_done(world)


def spread(changes: int, count: int) -> list[int]:
    """Numbers of changes, one at random out of each of ``count`` equal parts."""
    return [
        random.randrange(1 + part * changes // count, 1 + (part + 1) * changes // count)
        for part in range(count)
    ]


def test_killed_at_some_changes_of_the_disk(pattern: World, place: Path) -> None:
    changes = count_changes(pattern.copy(place / "count"))
    killed_at(pattern, place, spread(changes, 12))


@pytest.mark.slow
def test_killed_at_every_change_of_the_disk(pattern: World, place: Path) -> None:
    changes = count_changes(pattern.copy(place / "count"))
    assert changes > 300
    killed_at(pattern, place, range(1, changes + 1))


def failing_at(pattern: World, root: Path, numbers: Iterable[int]) -> None:
    for number in numbers:
        code = (errno.EIO, errno.ENOSPC)[number % 2]
        world = pattern.copy(root / "w")
        before = world.view()
        assert rotate_failing_at(world, number, code) in (0, 3), number
        assert between(world.view()) == between(before), number
        assert world.rotate().complete
        assert world.view() == before, number
        assert_done(world)


def test_a_store_that_fails_from_some_change_on(pattern: World, place: Path) -> None:
    changes = count_changes(pattern.copy(place / "count"))
    failing_at(pattern, place, spread(changes, 8))


@pytest.mark.slow
def test_a_store_that_fails_from_every_change_on(pattern: World, place: Path) -> None:
    changes = count_changes(pattern.copy(place / "count"))
    failing_at(pattern, place, range(1, changes + 1))


def contents_of(view: View) -> View:
    """What does not depend on when and where it was made: no times, no inode numbers, no room."""
    first = {stat.S_IFREG: 9, stat.S_IFDIR: 8}
    found = {
        path: (*seen[:2], *seen[first.get(stat.S_IFMT(seen[0]), 7) :]) for path, seen in view.items() if path
    }
    return found | {b"": view[b""][3:]}


def use(tree: OpenTree) -> None:
    """Changes of every kind, in a tree that a rotation has done a part of."""
    folders = {b"": 1}
    for number in range(5):
        for above in list(folders.values()):
            if found := tree.find(b"folder %d" % number, above):
                folders[b"%d" % number] = found
    everything = _everything(tree, 1)
    files = {name: place for name, place in everything.items() if name.startswith(b"file ")}
    moved, replaced, gone, exchanged, other = sorted(files)[:5]
    tree.rename(moved, b"moved", 0, files[moved], 1)
    tree.rename(b"n" * 255, replaced, 0, 1, files[replaced])
    tree.unlink(gone, files[gone])
    tree.rename(exchanged, other, RENAME_EXCHANGE, files[exchanged], files[other])
    with pytest.raises(FileExistsError):
        tree.mkdir(b"folder 0", parent=everything[b"folder 0"])
    tree.put(tree.create(gone, parent=files[gone]), b"made again under an old name")
    tree.put(tree.create(b"new " + b"l" * 200), b"new, long name" * 1000)
    tree.rename(b"d" * 240, b"renamed folder", 0, everything[b"d" * 240], 1)
    tree.tag(tree.find(b"renamed folder"), b"user.new", b"value")
    steps = tree.find(b"several steps", everything[b"several steps"])
    tree.put(steps, b"A" * 9000, 60_000)
    tree.put(steps, b"B" * 9000, 390_000)
    tree.put(steps, b"C", 420_000)
    tree.tag(steps, b"user.nearly a block", b"another value")
    tree.ask(Opcode.OPEN, steps, abi.OPEN_IN.pack(os.O_RDWR, 0))
    tree.ask(Opcode.FALLOCATE, steps, abi.FALLOCATE_IN.pack(0, 100_000, 90_000, 3, 0))
    tree.ask(Opcode.RELEASE, steps, bytes(abi.RELEASE_IN.size))
    holes = tree.find(b"holes", everything[b"holes"])
    size = [abi.SetAttr.SIZE, 0, 0, 1_100_000, *[0] * 12]
    tree.ask(Opcode.SETATTR, holes, abi.SETATTR_IN.pack(*size))
    tree.ask(Opcode.REMOVEXATTR, 1, b"user.of the root\0")
    tree.symlink(b"new link", b"new target", folders[b"1"])
    tree.unlink(b"third name")
    tree.unlink(b"long link again")
    tree.rmdir(b"empty folder")


def _everything(tree: OpenTree, node: int) -> dict[bytes, int]:
    """Names, and the directory each is in."""
    found: dict[bytes, int] = {}
    for name in tree.listing(node):
        below = tree.find(name, node)
        found[name] = node
        if stat.S_ISDIR(tree.status(below)[9]):
            found |= _everything(tree, below)
    return found


def used_between(pattern: World, root: Path, numbers: Iterable[int]) -> None:
    twin = pattern.copy(root / "twin")
    with twin.tree() as tree:
        use(tree)
    expected = contents_of(twin.view())
    for number in numbers:
        world = pattern.copy(root / "w")
        rotate_killed_at(world, number, after=True)
        with world.tree() as tree:
            use(tree)
        assert contents_of(world.view()) == expected, number
        assert not world.problems(), number
        assert world.rotate().complete, number
        assert contents_of(world.view()) == expected, number
        assert_done(world)


def test_a_tree_in_between_is_used_as_any_other(pattern: World, place: Path) -> None:
    changes = count_changes(pattern.copy(place / "count"))
    used_between(pattern, place, spread(changes, 8))


@pytest.mark.slow
def test_a_tree_in_between_after_every_change_is_used_as_any_other(pattern: World, place: Path) -> None:
    changes = count_changes(pattern.copy(place / "count"))
    used_between(pattern, place, range(1, changes + 1))


def test_a_repair_in_between_makes_one_lost_and_found(pattern: World, place: Path) -> None:
    """It has to find the folder under either key, or there would be two."""
    changes = count_changes(pattern.copy(place / "count"))
    for number in spread(changes, 3):
        world = pattern.copy(place / "w")
        with world.tree() as tree:
            below = tree.mkdir(b"lost+found")
            tree.create(b"kept", parent=below)
        rotate_killed_at(world, number, after=True)
        with world.tree():
            pass
        victim = next(p for p in (world.vault / "tree").iterdir() if p.is_file() and "." not in p.name)
        victim.rename(victim.with_name("A" * 40))  # no name of the vault
        world.problems(repair=True)
        with world.tree() as tree:
            assert tree.listing().count(b"lost+found") == 1
            assert len(tree.listing(tree.find(b"lost+found"))) == 2
        assert world.rotate().complete, number
        assert_done(world)


def test_what_is_no_folder_of_a_rotation_is_left_alone(pattern: World, place: Path) -> None:
    world, other = pattern.copy(place / "w"), place / "other"
    other.mkdir(exist_ok=True)
    (other / "undo").write_text("of somebody else")
    rotation = world.vault / "rotation"
    rotation.symlink_to(other)
    world.problems(repair=True)
    assert (other / "undo").exists()
    assert rotation.is_symlink()
    rotation.unlink()
    rotation.mkdir()
    (rotation / "mine").write_text("not of a rotation")
    (rotation / "undo").write_bytes(b"")
    world.problems(repair=True)
    assert [path.name for path in rotation.iterdir()] == ["mine"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_one_change_that_fails_and_no_other(pattern: World, place: Path, code: int) -> None:
    changes = count_changes(pattern.copy(place / "count"))
    for number in spread(changes, 5):
        world = pattern.copy(place / "w")
        before = world.view()
        assert rotate_failing_at(world, number, code, once=True) in (0, 3), number
        assert between(world.view()) == between(before), number
        assert world.rotate().complete
        assert world.view() == before, number
        assert_done(world)


@pytest.mark.skipif(os.geteuid() != 0, reason="not applicable: only root can rotate somebody else's vault")
def test_what_root_rotates_stays_whose_it_is(pattern: World, place: Path) -> None:
    changes = count_changes(pattern.copy(place / "count"))
    for number in (*range(1, WHILE_ITS_FOLDER_IS_MADE), *spread(changes, 3), 10**9):
        world = pattern.copy(place / "w")
        for path in (world.vault, *world.vault.rglob("*")):
            os.chown(path, 65534, 65534, follow_symlinks=False)
        rotate_killed_at(world, number, after=False)
        with world.tree():
            pass
        # A killed mount's journal stays root's: an owner of it could end a mount of root's by cutting it short.
        journal = world.vault / JOURNAL
        wrong = [
            path
            for path in world.vault.rglob("*")
            if path.lstat().st_uid != 65534 and journal not in (path, path.parent)
        ]
        assert all(path.name.startswith("phonevault.tmp.") for path in wrong), (number, wrong)


def test_nothing_is_changed_before_its_undo_is_durable_nor_forgotten_before_it_is_home(world: World) -> None:
    """The order in which things reach the disk, which a power cut shows and a kill does not."""
    assert in_child(lambda: OrderOfTheDisk(world.vault).watch_a_rotation(world)) == 0
