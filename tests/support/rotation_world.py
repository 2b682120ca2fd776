"""Vaults with a bit of everything in them, opened without a mount: for rotations that are ended at any moment.

What is done to a vault is done in a child process, which may die at a chosen change of the disk; what is in it is read through the handlers
of the requests, as a mount would.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from keyslots.errors import KeyslotsError
from keyslots.header import Header
from phonevault import content_rotation
from phonevault.check.findings import Counts, Finding, Severity
from phonevault.check.vault import VaultCheck
from phonevault.fs import syscalls
from phonevault.fs.filesystem import EncryptedFileSystem
from phonevault.fs.format.journal import DIRECTORY as JOURNAL
from phonevault.fs.recovery import recover
from phonevault.fs.rotation import batch, files, run
from phonevault.fuse import abi
from phonevault.fuse.abi import Opcode
from phonevault.openers import RecoveryOpener
from phonevault.rotation import Rotated
from phonevault.vault import OpenedVault, RecoverySlotRequest, create, open_vault
from support.direct_tree import DirectTree

CHANGES = (
    "pwrite", "pwritev", "write", "rename", "replace", "unlink", "rmdir", "link", "symlink", "mkdir", "ftruncate", "fsync",
    "fdatasync", "utime", "chmod", "fchmod", "chown", "fchown", "setxattr", "removexattr",
)  # fmt: skip
OLD = 10**18
CHUNK = 1 << 20
_REFUSED, _BROKEN = 3, 4
View = dict[bytes, tuple[Any, ...]]


class OpenTree(DirectTree):
    """A vault's tree, driven through its handlers."""

    def __init__(self, vault: Path, opened: OpenedVault, *, read_only: bool = False) -> None:
        header = opened.header
        umask = os.umask(0)
        self.filesystem = EncryptedFileSystem(
            opened.tree,
            header.vault_id,
            header.cipher,
            header.block_size,
            read_only=read_only,
            journal=vault / JOURNAL,
        )
        os.umask(umask)
        content_rotation.unlock(self.filesystem, header, opened.vmks)
        operations = self.filesystem.operations()
        self._handlers = operations.handlers
        self._scratch = operations.scratch_bytes
        self.uid, self.gid = os.geteuid(), os.getegid()

    def put(self, node: int, data: bytes, offset: int = 0) -> None:
        """Write to a file, which is opened and closed."""
        self.ask(Opcode.OPEN, node, abi.OPEN_IN.pack(os.O_RDWR, 0))
        for start in range(0, len(data), CHUNK):
            piece = data[start : start + CHUNK]
            head = abi.WRITE_IN.pack(0, offset + start, len(piece), 0, 0, 0, 0)
            self.ask(Opcode.WRITE, node, head + piece)
        self.ask(Opcode.RELEASE, node, bytes(abi.RELEASE_IN.size))

    def get(self, node: int, size: int) -> bytes:
        """All of a file."""
        self.ask(Opcode.OPEN, node, abi.OPEN_IN.pack(os.O_RDONLY, 0))
        try:
            return b"".join(
                self.ask(Opcode.READ, node, abi.READ_IN.pack(0, start, min(CHUNK, size - start), 0, 0, 0, 0))
                for start in range(0, size, CHUNK)
            )
        finally:
            self.ask(Opcode.RELEASE, node, bytes(abi.RELEASE_IN.size))

    def tag(self, node: int, name: bytes, value: bytes) -> None:
        """SETXATTR."""
        self.ask(Opcode.SETXATTR, node, abi.SETXATTR_IN_SHORT.pack(len(value), 0) + name + b"\0" + value)

    def tags(self, node: int) -> dict[bytes, bytes]:
        room = abi.GETXATTR_IN.pack(65_536, 0)
        listed = self.ask(Opcode.LISTXATTR, node, room).split(b"\0")[:-1]
        return {name: self.ask(Opcode.GETXATTR, node, room + name + b"\0") for name in sorted(listed)}

    def close(self) -> None:
        self.filesystem.close()
        self.filesystem.lock()


class World:
    """One vault in a directory of its own.

    Args:
        root: where it is, or will be.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.vault = root / "vault"

    def make(self, cipher: str) -> None:
        self.root.mkdir()
        made = create(self.vault, cipher=cipher, slots=[RecoverySlotRequest()])
        assert made.recovery_code is not None
        (self.root / "code").write_text(made.recovery_code)
        made.wipe()
        with self.tree() as tree:
            fill(tree)
        for path in (self.vault / "tree").rglob("*"):
            os.utime(path, ns=(OLD, OLD + path.lstat().st_ino), follow_symlinks=False)
        os.utime(self.vault / "tree", ns=(OLD, OLD + 1))

    def copy(self, root: Path) -> World:
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["cp", "-a", "--sparse=auto", self.root, root], check=True)
        return World(root)

    @contextmanager
    def opened(self) -> Iterator[OpenedVault]:
        opened = open_vault(self.vault, RecoveryOpener((self.root / "code").read_text().strip()))
        try:
            yield opened
        finally:
            opened.wipe()

    @contextmanager
    def tree(self, *, read_only: bool = False) -> Iterator[OpenTree]:
        """As a mount does: first what a dead one or a rotation left half done, then the tree."""
        with self.opened() as opened:
            content_rotation.refuse_unless_whole(opened, shared=False, read_only=read_only)
            if not read_only:
                recover(self.vault / JOURNAL, opened.tree)
                content_rotation.recover(opened)
            tree = OpenTree(self.vault, opened, read_only=read_only)
        try:
            yield tree
        finally:
            tree.close()

    def rotate(self) -> Rotated:
        with self.opened() as opened:
            return content_rotation.rotate_content(opened, lambda _: None)

    @property
    def header(self) -> Header:
        with self.opened() as opened:
            return opened.header

    def view(self, *, read_only: bool = False) -> View:
        """Everything a program can see."""
        with self.tree(read_only=read_only) as tree:
            seen: View = {
                b"": (tree.status(1)[0], tree.status(1)[4], tree.status(1)[7], *tree.tags(1).items())
            }
            _look(tree, 1, b"", seen)
        return seen

    def problems(self, *, repair: bool = False) -> list[Finding]:
        found: list[Finding] = []
        fd = os.open(self.vault / "tree", os.O_RDONLY)
        try:
            with self.opened() as opened:
                counts: Counts = VaultCheck(
                    opened.place, opened.header, opened.vmks, fd, found.append, repair=repair
                ).run()
        finally:
            os.close(fd)
        assert counts.files
        return [finding for finding in found if finding.severity is Severity.PROBLEM]


def fill(tree: OpenTree) -> None:
    """Directories, hard links, holes, long names, links of every kind, attributes, files of several steps."""
    chance = Random(7)
    folders = [1]
    for number in range(5):
        folders.append(tree.mkdir(b"folder %d" % number, 0o700 + number, chance.choice(folders)))
    folders.append(tree.mkdir(b"d" * 240, 0o755, folders[-1]))
    tree.mkdir(b"empty folder")
    some = []
    for number in range(14):
        node = tree.create(b"file %d" % number, 0o600 + number % 8, folders[number % len(folders)])
        tree.put(node, chance.randbytes(chance.choice((1, 15, 16, 4096, 4097, 9000, 30_000))))
        some.append(node)
    tree.create(b"nothing in it")
    tree.put(tree.create(b"n" * 255, 0o4755), b"long name, set-id")
    big = tree.create(b"several steps", 0o640, folders[2])
    tree.put(big, chance.randbytes(400_001))
    sparse = tree.create(b"holes", 0o644, folders[1])
    tree.put(sparse, b"end", 3 << 20)
    tree.put(sparse, chance.randbytes(200_000), 1 << 20)
    tree.link(some[0], b"second name", folders[3])
    tree.link(some[0], b"s" * 230, folders[4])
    tree.symlink(b"link", b"folder 1/file 3")
    one = tree.symlink(b"link of several names", b"some target", folders[1])
    tree.link(one, b"another name", folders[2])
    tree.link(one, b"third name")
    long = tree.symlink(b"long link", b"t" * 4000, folders[3])
    tree.link(long, b"long link again")
    tree.mknod(b"fifo", stat.S_IFIFO | 0o640)
    tree.tag(1, b"user.of the root", b"value")
    tree.tag(some[1], b"user.short", b"v" * 100)
    tree.tag(some[1], b"user." + b"l" * 240, b"w")
    tree.tag(folders[2], b"user.folder", b"x" * 500)
    tree.tag(big, b"user.nearly a block", b"y" * 2500)


def _look(tree: OpenTree, node: int, above: bytes, seen: View) -> None:
    listed = tree.listing(node)
    assert len(listed) == len(set(listed))
    for name in listed:
        number = tree.find(name, node)
        assert number, name
        inode, size, blocks, _, mtime, _, _, mtime_ns, _, mode, links, uid, gid, *_ = tree.status(number)
        what: tuple[Any, ...] = ()
        if stat.S_ISREG(mode):
            what = (inode, blocks, hashlib.sha256(tree.get(number, size)).hexdigest())
        elif stat.S_ISDIR(mode):
            what = (inode,)
            size = links = 0
        elif stat.S_ISLNK(mode):
            what = (tree.ask(Opcode.READLINK, number, b""),)
        path = above + b"/" + name
        seen[path] = (mode, size, uid, gid, mtime, mtime_ns, links, *what, *tree.tags(number).items())
        if stat.S_ISDIR(mode):
            _look(tree, number, path, seen)


def small_steps() -> None:
    """In a child: steps so small that a small tree needs many."""
    batch.BATCH_BYTES = files.BATCH_BYTES = 70_000
    batch.BATCH_OBJECTS = 4
    run.FOLDERS_TOGETHER = 3


Moment = Callable[[int, str], None]


def watch(moment: Moment, *, after: bool = False) -> None:
    """In a child: ``moment`` is called around every call that changes the disk, with its number and name."""
    count = 0

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            mine = count
            if not after:
                moment(mine, name)
            result = call(*arguments, **options)
            if after:
                moment(mine, name)
            return result

        return called

    for name in CHANGES:
        setattr(os, name, watched(name, getattr(os, name)))
    libc = syscalls._libc
    libc.renameat2 = watched("renameat2", libc.renameat2)
    batch.syncfs = run.syncfs = watched("syncfs", syscalls.syncfs)  # type: ignore[attr-defined]


def in_child(act: Callable[[], object]) -> int:
    """The wait status of a child that does it: 0, or what ended it."""
    child = os.fork()
    if not child:
        code = _BROKEN
        try:
            act()
            code = 0
        except OSError as error:
            code = _REFUSED if error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT) else _BROKEN
            if code == _BROKEN:
                traceback.print_exc()
        except KeyslotsError:
            code = _REFUSED
        except AssertionError:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def count_changes(world: World) -> int:
    """How many changes of the disk a rotation of that vault makes."""
    reader, writer = os.pipe()

    def act() -> None:
        last = [0]
        small_steps()
        watch(lambda number, _: last.__setitem__(0, number))
        assert world.rotate().complete
        os.write(writer, b"%d" % last[0])

    assert in_child(act) == 0
    os.close(writer)
    with os.fdopen(reader) as source:
        return int(source.read())


def rotate_killed_at(world: World, number: int, *, after: bool) -> None:
    """A rotation that ends by SIGKILL at one change of the disk."""

    def act() -> None:
        small_steps()
        watch(lambda now, _: os.kill(os.getpid(), signal.SIGKILL) if now == number else None, after=after)
        world.rotate()

    assert in_child(act) in (-signal.SIGKILL, 0)


def rotate_failing_at(world: World, number: int, code: int, *, once: bool = False) -> int:
    """A rotation in which one change of the disk fails with an error, and all further ones unless ``once``."""

    def fail(now: int, name: str) -> None:
        if now == number or (now > number and not once):
            raise OSError(code, f"{name} fails for the test")

    def act() -> None:
        small_steps()
        watch(fail)
        world.rotate()

    return in_child(act)


class OrderOfTheDisk:
    """Watches what a rotation writes and brings home. It trusts that a file system keeps the order of changes of its directories.

    Args:
        vault: the vault that is rotated.
    """

    def __init__(self, vault: Path) -> None:
        self.tree, self.log = str(vault / "tree"), str(vault / "rotation" / "undo")
        self.kept = "nothing"
        """What is in the undo log: nothing, something, something durable."""
        self.away_files: set[str] = set()
        self.away_names = False
        self.seen: dict[str, int] = {}

    def watch_a_rotation(self, world: World) -> None:
        small_steps()
        for name in ("pwrite", "pwritev"):
            self._wrap(os, name, self._wrote)
        for name in ("fsync", "fdatasync"):
            self._wrap(os, name, self._synced)
        for name in ("rename", "symlink", "link"):
            self._wrap(os, name, self._named)
        self._wrap(os, "replace", self._header)
        self._wrap(syscalls._libc, "renameat2", self._named)
        run.syncfs = batch.syncfs = self._home  # type: ignore[attr-defined]
        assert world.rotate().complete
        assert self.seen["file"] > 30
        assert self.seen["named"] > 30
        assert self.kept == "nothing"

    @staticmethod
    def _wrap(module: Any, name: str, look: Callable[..., None]) -> None:
        real = getattr(module, name)

        def called(*arguments: Any, **options: Any) -> Any:
            look(*arguments, **options)
            return real(*arguments, **options)

        setattr(module, name, called)

    def _count(self, what: str) -> None:
        self.seen[what] = self.seen.get(what, 0) + 1

    def _wrote(self, fd: int, data: Any, offset: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        if path == self.log:
            if offset == 0 and not isinstance(data, list) and not any(data):
                assert not self.away_files and not self.away_names, "forgotten before it is home"
                self.kept = "nothing"
            else:
                assert self.kept != "something durable", "overwritten while it counts"
                self.kept = "something"
        elif path.startswith(self.tree):
            self._count("file")
            assert self.kept == "something durable", f"{path} is changed without an undo"
            self.away_files.add(path)

    def _synced(self, fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        if path == self.log and self.kept == "something":
            self.kept = "something durable"
        self.away_files.discard(path)

    def _named(self, *arguments: Any, **options: Any) -> None:
        directory = options.get("dst_dir_fd", options.get("dir_fd", arguments[0]))
        path = os.readlink(f"/proc/self/fd/{directory}")
        if not path.startswith(self.tree) or path.endswith("/phonevault.links"):
            return  # what is put in place durably, and read under either key
        assert self.kept == "something durable", f"{arguments} is changed without an undo"
        self._count("named")
        self.away_names = True

    def _home(self, fd: int) -> None:
        syscalls.syncfs(fd)
        self.away_files.clear()
        self.away_names = False

    def _header(self, *_: Any, **__: Any) -> None:
        assert not self.away_files, "the older keys go before everything is home"
