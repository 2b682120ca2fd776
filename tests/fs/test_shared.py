"""``--shared``: two mounts of one tree, in two processes. What one does, the other sees at once."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.direct_tree import DirectTree
from support.mounted_tree import mounted_tree

from phonevault.fs.format import names
from phonevault.fs.syscalls import RENAME_EXCHANGE, rename

LONG = "long name " * 25


@contextlib.contextmanager
def two_mounts(base: Path, cipher: str = "aes-256-gcm") -> Iterator[tuple[Path, Path]]:
    with mounted_tree(base / "one", cipher, "shared") as one:
        (base / "two").mkdir()
        (base / "two" / "tree").symlink_to(one.tree)
        with mounted_tree(base / "two", cipher, "shared") as two:
            yield one.path, two.path


@pytest.fixture(scope="module", params=["aes-256-gcm", "aes-256-xts"])
def mounts(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[Path, Path]]:
    with two_mounts(tmp_path_factory.mktemp("shared"), request.param) as both:
        yield both


@pytest.fixture(params=[0, 1], ids=["there", "back"])
def sides(mounts: tuple[Path, Path], request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """Here and there, in a folder of the test's own."""
    name = f"folder {os.urandom(4).hex()}"
    (mounts[0] / name).mkdir()
    here, there = mounts if request.param == 0 else mounts[::-1]
    return here / name, there / name


# -- contents ---------------------------------------------------------------------------------------------

pytestmark = [pytest.mark.mount, pytest.mark.anyone]


def test_an_open_file_that_the_other_host_wrote_anew(sides: tuple[Path, Path]) -> None:
    here, there = sides
    (here / "f").write_bytes(b"first" * 3000)
    held = os.open(here / "f", os.O_RDWR)
    assert os.pread(held, 5, 0) == b"first"
    (there / "f").write_bytes(b"second" * 1000)
    assert os.fstat(held).st_size == 6000
    assert os.pread(held, 100_000, 0) == b"second" * 1000
    assert os.pwrite(held, b"THIRD", 10) == 5
    expected = bytearray(b"second" * 1000)
    expected[10:15] = b"THIRD"
    assert (there / "f").read_bytes() == expected
    os.truncate(there / "f", 0)
    assert os.pread(held, 10, 0) == b""
    os.pwrite(held, b"again", 5000)
    assert (there / "f").read_bytes() == bytes(5000) + b"again"
    os.close(held)


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR])
def test_appending_finds_the_true_end(sides: tuple[Path, Path], flags: int) -> None:
    here, there = sides
    first = os.open(here / "f", flags | os.O_APPEND | os.O_CREAT)
    second = os.open(there / "f", flags | os.O_APPEND)
    expected = b""
    for number in range(40):
        for fd, word in ((first, b"here"), (second, b"there")):
            line = b"%s %d\n" % (word, number) * (number % 7 * 30 + 1)
            assert os.write(fd, line) == len(line)
            expected += line
            assert os.fstat(fd).st_size == len(expected)
            if flags == os.O_RDWR:
                assert os.pread(fd, len(expected) + 1, 0) == expected
    os.truncate(here / "f", 5)
    os.write(second, b"end")
    os.close(first)
    os.close(second)
    assert (here / "f").read_bytes() == (there / "f").read_bytes() == expected[:5] + b"end"


APPEND = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
for number in range(150):
    line = f"{sys.argv[2]} {number} ".encode().ljust(60 + number % 50, b".") + b"\\n"
    assert os.write(fd, line) == len(line)
"""
BLOCKS = """
import os, sys
fd, own, shift = os.open(sys.argv[1], os.O_RDWR), int(sys.argv[2]), 100
for turn in range(60):
    for place in range(own, 40, 2):
        assert os.pwrite(fd, bytes([turn + 1]) * shift, place * shift) == shift
        assert os.pread(fd, shift, place * shift) == bytes([turn + 1]) * shift
"""


def both(program: str, *arguments: tuple[object, object]) -> None:
    children = [subprocess.Popen([sys.executable, "-c", program, *map(str, each)]) for each in arguments]
    assert [child.wait(100) for child in children] == [0, 0]


def test_two_hosts_append_at_once_and_lose_no_line(sides: tuple[Path, Path]) -> None:
    here, there = sides
    (here / "log").touch()
    both(APPEND, (here / "log", 0), (there / "log", 1))
    lines = (here / "log").read_text().splitlines()
    for side in "01":
        own = [line.split()[1] for line in lines if line.startswith(side)]
        assert own == [str(number) for number in range(150)]


def test_two_hosts_write_parts_of_one_block_at_once(sides: tuple[Path, Path]) -> None:
    """Each request is merged into its block whole, under the lock of the backing store."""
    here, there = sides
    (here / "f").write_bytes(bytes(4000))
    both(BLOCKS, (here / "f", 0), (there / "f", 1))
    assert (here / "f").read_bytes() == (there / "f").read_bytes() == bytes([60]) * 4000


def test_created_on_both_sides_at_once(sides: tuple[Path, Path]) -> None:
    """Without O_EXCL the later one opens, and cuts if it was asked to, what the earlier one made."""
    here, there = sides
    held = os.open(here / LONG, os.O_CREAT | os.O_WRONLY, 0o640)
    os.write(held, b"x" * 5000)
    again = os.open(there / LONG, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o600)
    assert os.fstat(again).st_size == os.fstat(held).st_size == 0
    with pytest.raises(FileExistsError):
        os.open(there / LONG, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.close(again)
    os.close(held)
    assert os.listdir(here) == os.listdir(there) == [LONG]


# -- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["short", LONG], ids=["short", "long"])
def test_names_come_and_go(sides: tuple[Path, Path], name: str) -> None:
    here, there = sides
    for path in (here / name, there / name):
        assert not path.exists()
    (here / name).write_text("text")
    assert (there / name).read_text() == "text"
    assert os.listdir(there) == [name]
    (there / name).rename(there / "other")
    assert not (here / name).exists()
    assert (here / "other").read_text() == "text"
    (here / "other").chmod(0o751)
    os.utime(here / "other", ns=(5, 6))
    assert (there / "other").stat().st_mtime_ns == 6
    assert stat.S_IMODE((there / "other").stat().st_mode) == 0o751
    (there / name).write_text("new")
    (there / name).replace(there / "other")
    assert (here / "other").read_text() == "new"
    (here / "other").unlink()
    assert os.listdir(there) == []


def test_a_held_file_follows_the_other_hosts_renames(sides: tuple[Path, Path]) -> None:
    here, there = sides
    (here / "a").write_text("text")
    os.link(here / "a", here / "b")
    held = os.open(here / "a", os.O_PATH)
    (there / "a").unlink()
    assert os.fstat(held).st_nlink == 1
    (there / "b").rename(there / "c")
    assert (here / "c").read_text() == "text"
    assert os.fstat(held).st_ino == (here / "c").stat().st_ino
    (there / "c").unlink()
    with pytest.raises(OSError) as caught:
        os.fstat(held)
    assert caught.value.errno in (errno.ENOENT, errno.ESTALE)
    os.close(held)


def test_a_directory_that_the_other_host_replaced(sides: tuple[Path, Path]) -> None:
    """Its id is another one then, whatever its inode number is."""
    here, there = sides
    for turn in range(20):
        (here / "d").mkdir()
        (here / "d" / f"file {turn}").touch()
        assert os.listdir(there / "d") == [f"file {turn}"]
        (there / "d" / f"there {turn}").touch()
        assert {entry.name for entry in (here / "d").iterdir()} == {f"file {turn}", f"there {turn}"}
        for path in list((there / "d").iterdir()):
            path.unlink()
        (there / "d").rmdir()
        assert not (here / "d").exists()


def test_an_empty_directory_replaced_by_the_other_host(sides: tuple[Path, Path]) -> None:
    here, there = sides
    (here / "empty").mkdir()
    (here / "full").mkdir()
    (here / "full" / "f").write_text("text")
    assert os.listdir(there / "empty") == []
    os.rename(there / "full", there / "empty")
    assert os.listdir(here) == ["empty"]
    assert (here / "empty" / "f").read_text() == "text"


def test_the_working_directory_is_removed_by_the_other_host(sides: tuple[Path, Path]) -> None:
    here, there = sides
    (here / "d").mkdir()
    held = os.open(here / "d", os.O_RDONLY)
    (there / "d").rmdir()
    assert os.listdir(held) == []
    with pytest.raises(OSError) as caught:
        os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=held)
    assert caught.value.errno in (errno.ENOENT, errno.ESTALE)
    os.close(held)
    (here / "d").mkdir()
    (there / "d" / "f").touch()


# -- two hosts at one moment, without a kernel between ---------------------------------------------------------


def interrupted(patch: pytest.MonkeyPatch, call: str, meanwhile: Callable[[], object]) -> None:
    """``meanwhile`` runs once, before the next ``os.call``."""
    real = getattr(os, call)

    def called(*arguments: object, **options: object) -> object:
        patch.setattr(os, call, real)
        meanwhile()
        return real(*arguments, **options)

    patch.setattr(os, call, called)


@pytest.mark.parametrize("call", ["unlink", "stat"])
def test_a_long_name_removed_here_and_made_there_keeps_its_sidecar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    one, two = (DirectTree(tmp_path / "tree", shared=True) for _ in range(2))
    long = b"l" * 255
    for turn in range(1, 6):
        one.mknod(long, 0o100600)
        calls = 0
        real = getattr(os, call)

        def counted(
            *arguments: object, turn: int = turn, real: Callable[..., object] = real, **options: object
        ) -> object:
            nonlocal calls
            calls += 1
            if calls == turn:
                monkeypatch.setattr(os, call, real)
                with contextlib.suppress(FileExistsError, FileNotFoundError):
                    two.mknod(long, 0o100600)
            return real(*arguments, **options)

        monkeypatch.setattr(os, call, counted)
        one.unlink(long)
        monkeypatch.setattr(os, call, real)
        for tree in (one, two):
            stored = [name for name in os.listdir(tmp_path / "tree") if names.is_long(name)]
            assert len(tree.listing()) == len(stored)
        with contextlib.suppress(FileNotFoundError):
            two.unlink(long)


def test_a_directory_that_is_filled_while_it_is_removed_keeps_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (DirectTree(tmp_path / "tree", shared=True) for _ in range(2))
    one.mkdir(b"d")
    two.create(b"early", parent=two.find(b"d"))
    two.unlink(b"early", two.find(b"d"))
    interrupted(monkeypatch, "rmdir", lambda: two.create(b"f", parent=two.find(b"d")))
    with pytest.raises(OSError) as caught:
        one.rmdir(b"d")
    assert caught.value.errno == errno.ENOTEMPTY
    for tree in (one, two, DirectTree(tmp_path / "tree")):
        assert tree.listing(tree.find(b"d")) == [b"f"]


# -- at random --------------------------------------------------------------------------------------------

NAMES = ["a", "b", "c", LONG, LONG[:-1] + "!"]
FOLDERS = ["", "x", "y"]


class Players:
    """Two mounts and a plain directory; each step is done on the plain directory and on one of the mounts."""

    def __init__(self, mounts: tuple[Path, Path], plain: Path, seed: int) -> None:
        self.mounts, self.plain, self.random = mounts, plain, random.Random(seed)
        self.held: list[tuple[int, int, int]] = []

    def step(self) -> None:
        side = self.random.randrange(2)
        kind = self.random.choice(STEPS)
        state = self.random.getstate()
        results = []
        for base in (self.plain, self.mounts[side]):
            self.random.setstate(state)
            try:
                results.append((getattr(self, "do_" + kind)(base), 0))
            except OSError as error:
                results.append((None, error.errno))
        assert results[0] == results[1], kind
        views = [self.view(base) for base in (self.plain, *self.mounts)]
        assert views[0] == views[1] == views[2], kind
        for _, fd, model in self.held:
            assert os.fstat(fd).st_size == os.fstat(model).st_size
            assert os.pread(fd, 1 << 20, 0) == os.pread(model, 1 << 20, 0)

    def path(self, base: Path) -> Path:
        return base / self.random.choice(FOLDERS) / self.random.choice(NAMES)

    def folder(self, base: Path) -> Path:
        return base / self.random.choice(FOLDERS[1:])

    def do_write(self, base: Path) -> None:
        self.path(base).write_bytes(self.random.randbytes(self.random.choice([0, 1, 5000, 70_000])))

    def do_part(self, base: Path) -> None:
        fd = os.open(self.path(base), os.O_RDWR | os.O_CREAT, 0o600)
        with contextlib.closing(os.fdopen(fd, "r+b", buffering=0)):
            os.pwrite(
                fd, self.random.randbytes(self.random.randrange(1, 9000)), self.random.randrange(20_000)
            )

    def do_append(self, base: Path) -> None:
        with self.path(base).open("ab") as file:
            file.write(self.random.randbytes(self.random.randrange(1, 9000)))

    def do_cut(self, base: Path) -> None:
        os.truncate(self.path(base), self.random.choice([0, 1, 4096, 10_000]))

    def do_rename(self, base: Path) -> None:
        os.rename(self.path(base), self.path(base))

    def do_exchange(self, base: Path) -> None:
        rename(-100, str(self.path(base)), -100, str(self.path(base)), RENAME_EXCHANGE)

    def do_link(self, base: Path) -> None:
        os.link(self.path(base), self.path(base), follow_symlinks=False)

    def do_symlink(self, base: Path) -> None:
        os.symlink(self.random.choice(NAMES), self.path(base))

    def do_unlink(self, base: Path) -> None:
        self.path(base).unlink()

    def do_mkdir(self, base: Path) -> None:
        self.folder(base).mkdir()

    def do_rmdir(self, base: Path) -> None:
        self.folder(base).rmdir()

    def do_move(self, base: Path) -> None:
        os.rename(self.folder(base), self.folder(base))

    def do_chmod(self, base: Path) -> None:
        self.path(base).chmod(self.random.choice([0o600, 0o640, 0o700]))

    def do_hold(self, base: Path) -> None:
        fd = os.open(self.path(base), os.O_RDONLY)
        if base == self.plain:
            self.held.append((0, 0, fd))
        else:
            _, _, model = self.held.pop()
            self.held.append((0, fd, model))

    def do_let_go(self, base: Path) -> None:
        if base == self.plain:
            return
        for _, fd, model in self.held:
            os.close(fd)
            os.close(model)
        self.held.clear()

    @staticmethod
    def view(base: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        for directory, below, files in os.walk(base):
            for name in below + files:
                path = Path(directory) / name
                status = path.lstat()
                data: object = None
                if stat.S_ISLNK(status.st_mode):
                    data = os.readlink(path)
                elif stat.S_ISREG(status.st_mode):
                    data = path.read_bytes()
                links = 0 if stat.S_ISDIR(status.st_mode) else status.st_nlink
                found[str(path.relative_to(base))] = (status.st_mode, links, data)
        return found


STEPS = [name.removeprefix("do_") for name in dir(Players) if name.startswith("do_")]


def play(mounts: tuple[Path, Path], base: Path, seed: int, steps: int) -> None:
    folder = f"players {seed}"
    (mounts[0] / folder).mkdir()
    (base / folder).mkdir()
    players = Players((mounts[0] / folder, mounts[1] / folder), base / folder, seed)
    for _ in range(steps):
        players.step()
    players.do_let_go(mounts[0])


def test_taking_turns(mounts: tuple[Path, Path], tmp_path: Path) -> None:
    for seed in range(2):
        play(mounts, tmp_path, seed, 150)


@pytest.mark.slow
def test_taking_many_turns(mounts: tuple[Path, Path], tmp_path: Path) -> None:
    for seed in range(100, 108):
        play(mounts, tmp_path, seed, 500)


@pytest.mark.parametrize("before", [[], [b"one"]])
def test_a_directory_id_that_a_dead_host_took_away_is_there_again_with_the_next_entry(
    tmp_path: Path, before: list[bytes]
) -> None:
    """A host died between the removal of the id and that of the directory; this one knows the id still."""
    tree = DirectTree(tmp_path / "tree", shared=True)
    folder = tree.mkdir(b"folder")
    for name in before:
        tree.create(name, parent=folder)
    (id_file,) = (tmp_path / "tree").glob("*/phonevault.dirid")
    id_file.unlink()
    tree.create(b"new", parent=folder)
    again = DirectTree(tmp_path / "tree", shared=True)
    assert sorted(again.listing(again.find(b"folder"))) == sorted([*before, b"new"])
