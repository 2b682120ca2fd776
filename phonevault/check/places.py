"""Directories of a walk: descriptors, of which only some are open at a time, and paths for findings.

A directory is reached from the nearest open one above it, name by name, never through a link; what is found there must be
the same object as before. So the depth of a hostile tree costs neither descriptors nor recursion.
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from dataclasses import dataclass

from phonevault.check.findings import UNKNOWN_NAME

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORIES = 128
_PATH_LIMIT = 4096


class Directory:
    """One directory of the walk.

    Attributes:
        parent: the directory above; None for the root.
        stored: its name in the ciphertext (the root: as it is to be shown).
        name: plaintext name; None if it does not decrypt.
        key: device and inode.
        id: the id its names are bound to; None if that is lost.
        in_lost_found: it lies in lost+found, or will by the end of a repair: what is renamed stays in it.
        names_lost: its id was lost: no name in it decrypts.
        pending: stored names that were not visited yet.
    """

    __slots__ = ("id", "in_lost_found", "key", "name", "names_lost", "parent", "pending", "stored")

    def __init__(
        self, parent: Directory | None, stored: str, name: bytes | None, key: tuple[int, int]
    ) -> None:
        self.parent = parent
        self.stored = stored
        self.name = name
        self.key = key
        self.id: bytes | None = None
        self.in_lost_found: bool = parent is not None and parent.in_lost_found
        self.names_lost = False
        self.pending: list[str] = []

    def path(self, name: bytes | None) -> bytes:
        """Plaintext path of an entry, cut off in front if it is very long."""
        parts = [UNKNOWN_NAME if name is None else name]
        length, directory = len(parts[0]), self
        while directory.parent is not None:
            part = UNKNOWN_NAME if directory.name is None else directory.name
            length += len(part) + 1
            if length > _PATH_LIMIT:
                return b".../" + b"/".join(reversed(parts))
            parts.append(part)
            directory = directory.parent
        return b"/" + b"/".join(reversed(parts))

    def stored_path(self, stored: str) -> str:
        """Path of an entry's ciphertext below VAULT, cut off in front if it is very long."""
        parts, length = [stored], len(stored)
        directory: Directory | None = self
        while directory is not None:
            length += len(directory.stored) + 1
            if length > _PATH_LIMIT:
                parts.append("...")
                break
            parts.append(directory.stored)
            directory = directory.parent
        return "/".join(reversed(parts))


@dataclass(frozen=True)
class Place:
    """Where an object is.

    Attributes:
        directory: the directory it is in.
        stored: its name there; "" stands for the directory itself.
        name: its plaintext name; None if it is not known.
    """

    directory: Directory
    stored: str
    name: bytes | None

    @classmethod
    def of(cls, directory: Directory) -> Place:
        """The place of a directory itself."""
        if directory.parent is None:
            return cls(directory, "", b"")
        return cls(directory.parent, directory.stored, directory.name)

    @property
    def path(self) -> bytes:
        """Plaintext path inside the mount."""
        return self.directory.path(self.name)

    @property
    def stored_path(self) -> str:
        """Path of the ciphertext below VAULT."""
        return self.directory.stored_path(self.stored).rstrip("/")


class Descriptors:
    """Descriptors of directories, the oldest closed when there are many.

    Args:
        root: the root.
        fd: open on it; stays open, and the caller's.
    """

    def __init__(self, root: Directory, fd: int) -> None:
        self._root = root
        self._root_fd = fd
        self._open: OrderedDict[Directory, int] = OrderedDict()

    def adopt(self, directory: Directory, fd: int) -> None:
        """Keep a descriptor that was just opened."""
        self._open[directory] = fd
        if len(self._open) > _OPEN_DIRECTORIES:
            os.close(self._open.popitem(last=False)[1])

    def close(self, directory: Directory) -> None:
        """The walk is done with a directory."""
        fd = self._open.pop(directory, None)
        if fd is not None:
            os.close(fd)

    def close_all(self) -> None:
        """At the end."""
        while self._open:
            os.close(self._open.popitem()[1])

    def fd(self, directory: Directory) -> int:
        """A descriptor of a directory, good until the next call.

        Raises:
            OSError: it cannot be opened any more, or ESTALE: something else is in its place.
        """
        if directory is self._root:
            return self._root_fd
        if directory in self._open:
            self._open.move_to_end(directory)
            return self._open[directory]
        chain, above = [directory], directory.parent
        while above is not None and above is not self._root and above not in self._open:
            chain.append(above)
            above = above.parent
        fd = self._root_fd if above is None or above is self._root else self._open[above]
        passing = False
        for left in range(len(chain) - 1, -1, -1):
            try:
                opened = self._reopen(chain[left], fd)
            finally:
                if passing:
                    os.close(fd)
            fd, passing = opened, left >= _OPEN_DIRECTORIES // 2
            if not passing:
                self.adopt(chain[left], fd)
        return fd

    def _reopen(self, directory: Directory, above_fd: int) -> int:
        fd = os.open(directory.stored, DIRECTORY_FLAGS, dir_fd=above_fd)
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != directory.key:
            os.close(fd)
            raise OSError(errno.ESTALE, "another directory is in its place")
        return fd
