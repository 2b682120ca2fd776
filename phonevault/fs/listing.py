"""A directory's listing, in an order that belongs to the entries.

An entry's position (``d_off``, what telldir(3) gives) is a hash of its stored name: it is the same in every listing of the mount, whoever
makes it and whatever else comes and goes: reading on behind a position neither repeats nor misses an entry that was there all the time,
also across handles and behind the kernel's cache, which takes one handle's entries for another's. Names are decrypted when they are asked
for; a listing holds no plaintext.
"""

from __future__ import annotations

import os
import stat
from array import array
from bisect import bisect_right

from phonevault.fs.format import names
from phonevault.fs.small_files import for_reading

_MASK = (1 << 62) - 1
_FIRST = 3
"""Positions below are those of "." and ".."."""
_REGULAR, _DIRECTORY, _LINK = stat.S_IFREG >> 12, stat.S_IFDIR >> 12, stat.S_IFLNK >> 12


def position_of(stored: str) -> int:
    """Where an entry stands: 62 bits of the interpreter's own keyed hash, which is one for the life of the process and not foreseeable."""
    position = hash(stored) & _MASK
    return position if position > _FIRST else _FIRST


class Listing:
    """The entries of one directory as they were at one moment, without "." and "..".

    Args:
        directory_fd: a descriptor of it, of any kind.

    Attributes:
        positions: ascending. Of two equal hashes (about n² / 2^63 for n entries) the second name stands one higher.
        stored: names in the ciphertext directory.
        inodes: inode numbers.
        kinds: ``S_IFMT >> 12``, as in ``struct dirent``; 0 if unknown.
    """

    __slots__ = ("inodes", "kinds", "positions", "stored")

    def __init__(self, directory_fd: int) -> None:
        stored, inodes, kinds = _scan(directory_fd)
        positions = list(map(position_of, stored))
        order = sorted(range(len(stored)), key=positions.__getitem__)
        unique = len(set(positions)) == len(positions)
        if not unique:
            order.sort(key=lambda index: (positions[index], stored[index]))
        self.stored = [stored[index] for index in order]
        self.inodes = array("Q", map(inodes.__getitem__, order))
        self.kinds = bytes(map(kinds.__getitem__, order))
        self.positions = array("Q", map(positions.__getitem__, order))
        if not unique:
            _separate(self.positions)

    def after(self, position: int) -> range:
        """The numbers of the entries that stand behind a position."""
        return range(bisect_right(self.positions, position), len(self.stored))


def _scan(directory_fd: int) -> tuple[list[str], list[int], bytearray]:
    stored, inodes, kinds = [], [], bytearray()
    fd = for_reading(directory_fd)
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                name = entry.name
                if names.is_entry(name):
                    stored.append(name)
                    inodes.append(entry.inode())
                    kinds.append(_kind(entry))
    finally:
        os.close(fd)
    return stored, inodes, kinds


def _separate(positions: array[int]) -> None:
    """Make ascending positions strictly ascending."""
    for index in range(1, len(positions)):
        if positions[index] <= positions[index - 1]:
            positions[index] = positions[index - 1] + 1


def _kind(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return _LINK
    if entry.is_file():
        return _REGULAR
    return _DIRECTORY if entry.is_dir() else 0
