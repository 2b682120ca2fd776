"""OPENDIR, READDIR, READDIRPLUS, RELEASEDIR, FSYNCDIR.

A handle lists its directory once, at its first read or after a rewind, so that concurrent changes neither repeat nor hide others.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat

from phonevault.fs import attributes
from phonevault.fs.core import Core, Listed
from phonevault.fs.nodes import Node
from phonevault.fuse import abi
from phonevault.fuse.request import Request

_DIRECTORY_KIND = stat.S_IFDIR >> 12
_NO_ENTRY = bytes(abi.ENTRY_OUT.size)


class DirectoryOperations:
    """Handlers over a :class:`Core`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._numbers = itertools.count(1)
        self._listings: dict[int, list[Listed] | None] = {}

    def drop_listings(self) -> None:
        """Forget the plaintext names held for open handles; they are read again when asked for."""
        for number in self._listings:
            self._listings[number] = None

    def opendir(self, request: Request) -> bytes:
        """OPENDIR."""
        self._core.directory_id(self._core.nodes.get(request.nodeid))
        number = next(self._numbers)
        self._listings[number] = None
        # The kernel may keep the listing: it knows of every change, unless other hosts make some.
        caching = 0 if self._core.shared else abi.FOPEN_CACHE_DIR | abi.FOPEN_KEEP_CACHE
        return abi.OPEN_OUT.pack(number, caching, 0)

    def releasedir(self, request: Request) -> bytes:
        """RELEASEDIR."""
        self._listings.pop(abi.RELEASE_IN.unpack_from(request.body)[0], None)
        return b""

    def readdir(self, request: Request) -> bytes:
        """READDIR."""
        return self._read(request, plus=False)

    def readdirplus(self, request: Request) -> bytes:
        """READDIRPLUS: each entry with its attributes, counted as a look-up."""
        return self._read(request, plus=True)

    def fsyncdir(self, request: Request) -> bytes:
        """FSYNCDIR."""
        handle = self._core.nodes.directory(self._core.nodes.get(request.nodeid))
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=handle.fd)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        return b""

    def _read(self, request: Request, *, plus: bool) -> bytes:
        number, offset, size, *_ = abi.READ_IN.unpack_from(request.body)
        node = self._core.nodes.get(request.nodeid)
        listing = self._listing(number, node, rewind=offset == 0)
        handle = self._core.nodes.directory(node)
        out = bytearray()
        head = abi.ENTRY_OUT.size if plus else 0
        for index in range(offset, len(listing)):
            listed = listing[index]
            length = head + (abi.DIRENT.size + len(listed.name) + 7 & ~7)
            if len(out) + length > size:
                break
            if plus:
                out += self._entry(node, handle.fd, listed)
            out += abi.DIRENT.pack(listed.inode, index + 1, len(listed.name), listed.kind)
            out += listed.name
            out += bytes(-len(out) % 8)
        return bytes(out)

    def _entry(self, node: Node, directory_fd: int, listed: Listed) -> bytes:
        if not listed.stored:
            return _NO_ENTRY
        try:
            status = self._core.stat_entry(directory_fd, listed.stored)
        except FileNotFoundError:
            # Removed since the listing was made: the kernel is given the name alone.
            return attributes.negative_entry(0)
        return self._core.entry(node, listed.stored, status)

    def _listing(self, number: int, node: Node, *, rewind: bool) -> list[Listed]:
        if number not in self._listings:
            raise OSError(errno.EBADF, "the directory is not open")
        listing = self._listings[number]
        if listing is None or rewind:
            inode = node.key[1]
            dots = [Listed(b".", "", inode, _DIRECTORY_KIND), Listed(b"..", "", inode, _DIRECTORY_KIND)]
            listing = dots + self._core.list_directory(node)
            self._listings[number] = listing
        return listing
