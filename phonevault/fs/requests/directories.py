"""OPENDIR, READDIR, READDIRPLUS, RELEASEDIR, FSYNCDIR.

A handle lists its directory at its first read and after a rewind, and lets go of the listing at the end. Positions belong to the
entries (``fs/listing.py``), so a listing that was dropped meanwhile is simply made again.
"""

from __future__ import annotations

import itertools
import logging
import stat
from collections.abc import Iterator
from typing import NamedTuple

from phonevault.fs import sidecars
from phonevault.fs.core import Core
from phonevault.fs.errors import Damaged
from phonevault.fs.format import names
from phonevault.fs.listing import Listing
from phonevault.fs.nodes import Node
from phonevault.fs.small_files import exists, sync_directory
from phonevault.fuse import abi
from phonevault.fuse.request import Request

log = logging.getLogger(__name__)

_DIRECTORY_KIND = stat.S_IFDIR >> 12
_NO_ENTRY = bytes(abi.ENTRY_OUT.size)
_DOT, _DOTDOT = 1, 2


class _Listed(NamedTuple):
    """An entry for the reply; ``stored`` is empty for "." and ".."."""

    name: bytes
    stored: str
    position: int
    inode: int
    kind: int


class DirectoryOperations:
    """Handlers over a :class:`Core`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._numbers = itertools.count(1)
        self._listings: dict[int, Listing] = {}

    def opendir(self, request: Request) -> bytes:
        """OPENDIR."""
        self._core.directory_id(self._core.nodes.get(request.nodeid))
        # The kernel may keep the listing: it knows of every change, unless other hosts make some.
        caching = 0 if self._core.shared else abi.FOPEN_CACHE_DIR | abi.FOPEN_KEEP_CACHE
        return abi.OPEN_OUT.pack(next(self._numbers), caching, 0)

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
        sync_directory(self._core.nodes.directory(self._core.nodes.get(request.nodeid)).fd)
        return b""

    def _read(self, request: Request, *, plus: bool) -> bytes:
        number, position, size, *_ = abi.READ_IN.unpack_from(request.body)
        node = self._core.nodes.get(request.nodeid)
        handle = self._core.nodes.directory(node)
        out = bytearray()
        head = abi.ENTRY_OUT.size if plus else 0
        for listed in self._entries(number, node, handle.fd, position):
            if len(out) + head + (abi.DIRENT.size + len(listed.name) + 7 & ~7) > size:
                return bytes(out)
            if plus:
                entry = self._entry(node, handle.fd, listed)
                if entry is None:
                    continue
                out += entry
            out += abi.DIRENT.pack(listed.inode, listed.position, len(listed.name), listed.kind)
            out += listed.name
            out += bytes(-len(out) % 8)
        if not out:
            self._listings.pop(number, None)
        return bytes(out)

    def _entry(self, node: Node, directory_fd: int, listed: _Listed) -> bytes | None:
        """The answer to a look-up of a listed name; None if it is gone since the listing was made."""
        if not listed.stored:
            return _NO_ENTRY
        try:
            status = self._core.stat_entry(directory_fd, listed.stored)
        except FileNotFoundError:
            return None
        except PermissionError:
            # A directory that may be read but not entered: the name alone.
            return _NO_ENTRY
        return self._core.entry(node, listed.stored, status)

    def _entries(self, number: int, node: Node, directory_fd: int, position: int) -> Iterator[_Listed]:
        """What stands behind a position; an entry whose name does not decrypt is told to the log and left out."""
        if position < _DOT:
            yield _Listed(b".", "", _DOT, node.inode, _DIRECTORY_KIND)
        if position < _DOTDOT:
            above = node.parent or node
            yield _Listed(b"..", "", _DOTDOT, above.inode, _DIRECTORY_KIND)
        listing = self._listings.get(number)
        if listing is None or position == 0:
            listing = self._listings[number] = Listing(directory_fd)
        directory_id, siv = self._core.directory_id(node), self._core.keys.names
        for index in listing.after(position):
            stored = listing.stored[index]
            try:
                encoded = sidecars.read(directory_fd, stored) if names.is_long(stored) else stored
                name = names.decrypt_name(siv, directory_id, encoded)
            except (Damaged, FileNotFoundError):
                if exists(stored, directory_fd):
                    log.warning("inode %d: an entry's name does not decrypt", listing.inodes[index])
                continue
            yield _Listed(name, stored, listing.positions[index], listing.inodes[index], listing.kinds[index])
