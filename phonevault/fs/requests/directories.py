"""OPENDIR, READDIR, READDIRPLUS, RELEASEDIR, FSYNCDIR.

A directory is listed when it is read from its beginning, and the listing let go at its end. Positions belong to the entries
(``fs/listing.py``), so whoever reads it shares one listing, and one that was dropped meanwhile is simply made again. That is why the kernel
need not tell of every opening: where it may keep listings, OPENDIR is answered ENOSYS, and there is no RELEASEDIR either.
"""

from __future__ import annotations

import errno
import logging
import stat
from collections import OrderedDict
from collections.abc import Mapping

from phonevault.fs import sidecars
from phonevault.fs.core import Core
from phonevault.fs.errors import Damaged
from phonevault.fs.format import names
from phonevault.fs.listing import Listing
from phonevault.fs.nodes import Node, PathHandle
from phonevault.fs.small_files import exists, sync_directory
from phonevault.fuse import abi
from phonevault.fuse.request import Request

log = logging.getLogger(__name__)

_DIRECTORY_KIND = stat.S_IFDIR >> 12
_NO_ENTRY = bytes(abi.ENTRY_OUT_BYTES)
_PADDING = tuple(bytes(-length % 8) for length in range(8))
_DOT, _DOTDOT = 1, 2
_LISTINGS = 64
_WITH_ATTRIBUTES = 1024
"""So many entries of a directory are listed with their attributes, and the others once an entry was looked up.

Who walks a tree (find, du, rm -r, chmod -R) reads a directory to its end before it asks for the first entry's attributes, so the kernel's
own guess (READDIRPLUS_AUTO: some 190 entries) costs such a program a look-up for each further one, which is dearer than attributes are.
"""


class DirectoryOperations:
    """Handlers over a :class:`Core`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._listings: OrderedDict[int, Listing] = OrderedDict()

    def opendir(self, request: Request) -> bytes:
        """OPENDIR."""
        if not self._core.shared:
            # FUSE_NO_OPENDIR_SUPPORT (protocol 7.29): the kernel asks no more, and may keep listings, since it knows of every change.
            raise OSError(errno.ENOSYS, "directories need no opening")
        self._core.directory_id(self._core.nodes.get(request.nodeid))
        return abi.OPEN_OUT.pack(0, 0, 0)

    def releasedir(self, request: Request) -> bytes:
        """RELEASEDIR."""
        self._listings.pop(request.nodeid, None)
        return b""

    def readdir(self, request: Request) -> bytes:
        """READDIR."""
        return self._read(request, plus=False)

    def readdirplus(self, request: Request) -> bytes:
        """READDIRPLUS: entries with attributes are counted as looked up; some have none (the kernel has them; the directory is large)."""
        return self._read(request, plus=True)

    def take_back(self, opcode: int, reply: bytes) -> None:
        """An answer was not given: what it told of counts as not looked up."""
        place = 0
        while opcode == abi.Opcode.READDIRPLUS and place < len(reply):
            number = abi.ENTRY_OUT.unpack_from(reply, place)[0]
            if number:
                self._core.nodes.forget(number, 1)
            length = abi.DIRENT.unpack_from(reply, place + abi.ENTRY_OUT_BYTES)[2]
            place += abi.ENTRY_OUT_BYTES + abi.DIRENT.size + (length + 7 & ~7)

    def fsyncdir(self, request: Request) -> bytes:
        """FSYNCDIR."""
        sync_directory(self._core.nodes.directory(self._core.nodes.get(request.nodeid)).fd)
        return b""

    def _read(self, request: Request, *, plus: bool) -> bytes:
        _, position, size, *_ = abi.READ_IN.unpack_from(request.body)
        core = self._core
        node = core.nodes.get(request.nodeid)
        handle = core.nodes.directory(node)
        out = bytearray()
        if position < _DOTDOT:
            self._dots(out, node, position, plus=plus)
        listing = self._listings.get(node.id)
        if listing is None or position == 0:
            core.directory_id(node)  # that of an empty directory is looked at, too
            listing = self._keep(node, Listing(handle.fd))
            handle.asked = False
        behind = listing.after(position)
        if behind:
            self._fill(out, node, handle, listing, behind, size, plus=plus)
        if not out:
            self._listings.pop(node.id, None)
        return bytes(out)

    def _fill(
        self,
        out: bytearray,
        node: Node,
        handle: PathHandle,
        listing: Listing,
        numbers: range,
        size: int,
        *,
        plus: bool,
    ) -> None:
        """Append entries as far as they fit. One whose name does not decrypt is told to the log and left out.

        Raises:
            OSError: of the first one; of a later one it comes with the next request, since what is there is counted as looked up.
        """
        fits = size - abi.DIRENT.size - (abi.ENTRY_OUT_BYTES if plus else 0)
        open_name = self._core.keys.name_opener(self._core.directory_id(node))
        entry_of, dirent, directory_fd = self._entry, abi.DIRENT.pack, handle.fd
        told_of = numbers.stop if handle.asked else _WITH_ATTRIBUTES
        lasting, is_told = not self._core.shared, self._core.nodes.is_told
        stored, inodes, kinds, positions = listing.stored, listing.inodes, listing.kinds, listing.positions
        for index in numbers:
            text = stored[index]
            try:
                try:
                    name = open_name(sidecars.read(directory_fd, text) if names.is_long(text) else text)
                except (Damaged, FileNotFoundError):
                    if exists(text, directory_fd):
                        log.warning("inode %d: an entry's name does not decrypt", inodes[index])
                    continue
                length = len(name)
                if len(out) + (length + 7 & ~7) > fits:
                    return
                if plus:
                    left_out = index >= told_of or (lasting and is_told(node, text, inodes[index]))
                    entry = _NO_ENTRY if left_out else entry_of(node, directory_fd, text)
                    if entry is None:
                        continue
                    out += entry
            except OSError:
                if out:
                    return
                raise
            out += dirent(inodes[index], positions[index], length, kinds[index])
            out += name
            out += _PADDING[length & 7]

    def renamed(self, directory: Node, names_now: Mapping[str, str]) -> None:
        """Entries have another stored name; a listing that somebody is reading goes on behind the same positions."""
        listing = self._listings.get(directory.id)
        if listing is not None:
            listing.stored = [names_now.get(stored, stored) for stored in listing.stored]

    def _keep(self, node: Node, listing: Listing) -> Listing:
        self._listings[node.id] = listing
        while len(self._listings) > _LISTINGS:
            self._listings.popitem(last=False)
        return listing

    def _dots(self, out: bytearray, node: Node, position: int, *, plus: bool) -> None:
        """The entries "." and ".."; the kernel wants no attributes of either."""
        above = node.parent or node
        for name, place, inode in ((b".", _DOT, node.inode), (b"..", _DOTDOT, above.inode)):
            if position < place:
                out += _NO_ENTRY if plus else b""
                out += abi.DIRENT.pack(inode, place, len(name), _DIRECTORY_KIND)
                out += name + _PADDING[len(name)]

    def _entry(self, node: Node, directory_fd: int, stored: str) -> bytes | None:
        """The answer to a look-up of a listed name; None if it is gone since the listing was made."""
        try:
            status = self._core.stat_entry(directory_fd, stored)
        except FileNotFoundError:
            return None
        except OSError:
            # A directory that may be read but not entered, a broken entry: the name alone. Who looks it up is told, and it hides no other.
            return _NO_ENTRY
        return self._core.entry(node, stored, status)
