"""Changes a mount's ciphertext between two mounts, and asks what programs see of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from phonevault.fs.format.layout import HEADER_BYTES, Layout
from support.checking import assert_repair_settles
from support.mounted_tree import MountedTree, mounted_tree
from support.sparse_files import outcome

BLOCK = 4096
STORED = Layout(BLOCK).cipher_block
EIO = "EIO"


class TamperedTree:
    """A mount whose ciphertext is changed while it is not mounted."""

    def __init__(self, mount: MountedTree) -> None:
        self.mount = mount
        self.path = mount.path
        (self.path / "untouched").write_bytes(b"sound")

    @contextlib.contextmanager
    def while_away(self) -> Iterator[Callable[[str], Path]]:
        """Gives the ciphertext of a path of the mount; directories and links as well."""
        numbers = {
            str(path.relative_to(self.path)): path.lstat().st_ino
            for path in [self.path, *self.path.rglob("*")]
        }
        self.mount.stop()
        stored = {path.lstat().st_ino: path for path in [self.mount.tree, *self.mount.tree.rglob("*")]}
        yield lambda name: stored[numbers[name]]
        self.mount.start()

    def change(self, name: str, change: Callable[[bytes], bytes]) -> None:
        """Change the ciphertext of one file between two mounts."""
        with self.while_away() as stored:
            rewrite(stored(name), change)

    def blocks(self, name: str) -> list[object]:
        """Each block of a file as it is read by itself: its first byte, ``EIO`` or, where it is not uniform, all of it."""
        found: list[object] = []
        try:
            fd = os.open(self.path / name, os.O_RDONLY)
        except OSError as error:
            return [os.strerror(error.errno or 0)]
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
            for offset in range(0, os.fstat(fd).st_size, BLOCK):
                piece = outcome(lambda: os.pread(fd, BLOCK, offset))  # noqa: B023
                uniform = isinstance(piece, bytes) and len(set(piece)) == 1
                found.append(piece[:1] if uniform and isinstance(piece, bytes) else piece)
        finally:
            os.close(fd)
        return found

    def assert_it_serves(self) -> None:
        """The daemon lives, and what was not touched is there."""
        assert (self.path / "untouched").read_bytes() == b"sound"
        (self.path / "fresh").write_bytes(b"new")
        assert (self.path / "fresh").read_bytes() == b"new"
        (self.path / "fresh").unlink()


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def lettered(blocks: int, rest: int = 0) -> bytes:
    """Blocks of A, B, C, …; the last may be a part of one."""
    return b"".join(bytes([65 + number]) * BLOCK for number in range(blocks)) + bytes([65 + blocks]) * rest


def letters(text: str) -> list[object]:
    """What :meth:`TamperedTree.blocks` finds: a letter a block, ``!`` for EIO, ``0`` for zeros."""
    special: dict[str, object] = {"!": EIO, "0": b"\0"}
    return [special.get(letter, letter.encode()) for letter in text]


def flipped(place: int, bit: int = 0) -> Callable[[bytes], bytes]:
    def change(raw: bytes) -> bytes:
        return raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :]

    return change


def block_of(raw: bytes, number: int) -> bytes:
    start = HEADER_BYTES + number * STORED
    return raw[start : start + STORED]


def reordered(raw: bytes, order: list[int]) -> bytes:
    """The same header with these blocks of the file."""
    return raw[:HEADER_BYTES] + b"".join(block_of(raw, number) for number in order)


@contextlib.contextmanager
def tampered_tree(base: Path, cipher: str) -> Iterator[TamperedTree]:
    with mounted_tree(base, cipher) as mount:
        mount.damaged = True
        tree = TamperedTree(mount)
        yield tree
        tree.assert_it_serves()
    assert_repair_settles(mount.tree, cipher)
