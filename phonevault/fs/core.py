"""What every operation shares: the tree's keys, its node table, and the way from a name to a ciphertext entry."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from keyslots.memory import scrub_stack
from phonevault.fs import attributes, directory_ids
from phonevault.fs.contents.gcm_file import GcmFile
from phonevault.fs.contents.sparse_file import SparseFile
from phonevault.fs.contents.xts_file import XtsFile
from phonevault.fs.errors import DirectoryIdDamaged, KeysMissing
from phonevault.fs.format import links, names
from phonevault.fs.format.layout import Layout, XtsLayout
from phonevault.fs.journal import journal_in
from phonevault.fs.keys import TreeKeys
from phonevault.fs.long_links import LongLinks
from phonevault.fs.nodes import Node, NodeTable, PathHandle, key_of, pinned
from phonevault.fs.permissions import Permissions
from phonevault.fs.small_files import exists
from phonevault.fs.xattr_store import Ciphertext, XattrStore, carries_xattrs

log = logging.getLogger(__name__)

_Found = TypeVar("_Found")

MAX_WRITE_BYTES = 1 << 20
"""The largest WRITE that is taken."""
_LONG_TIMEOUT_S = 86_400
_HELD_UP_S = 0.5
"""How long a lock waits for requests that use files' keys before it goes on without them."""
CIPHERS: dict[str, tuple[type[Layout], type[SparseFile]]] = {
    "aes-256-gcm": (Layout, GcmFile),
    "aes-256-xts": (XtsLayout, XtsFile),
}


class Core:
    """State of one encrypted tree.

    Args:
        tree: the ciphertext of the root directory.
        cipher: of the vault, by its name in the header.
        block_size: of the vault, in bytes.
        shared: other hosts change the ciphertext: nothing is cached for long.
        journal: where the mount's journal file is made; None for a mount that changes nothing.
    """

    def __init__(
        self, tree: Path, cipher: str, block_size: int, *, shared: bool, journal: Path | None = None
    ) -> None:
        self.tree = tree
        layout, self._content_file = CIPHERS[cipher]
        self.layout = layout(block_size)
        self.cipher_id = self._content_file.cipher_id
        self.journal = journal_in(journal, self.layout.scratch_bytes(MAX_WRITE_BYTES))
        self.nodes = NodeTable(tree)
        self.shared = shared
        self.kernel_keeps_times = not shared and journal is not None
        self.timeout_s = 0 if shared else _LONG_TIMEOUT_S
        self.xattrs = XattrStore(lambda: self.keys, available=carries_xattrs(tree))
        self.permissions = Permissions(self.xattrs, self.nodes.directory, cached=not shared)
        self.long_links = LongLinks(lambda: self.nodes.directory(self.nodes.root))
        self._keys: TreeKeys | None = None
        self._swap = threading.Lock()
        self.on_renamed: Callable[[Node, Mapping[str, str]], None] = lambda directory, names: None
        """Told of entries that got another stored name, in the same place of their directory's order."""
        self._moves: list[tuple[PathHandle, str]] | None = None
        self._besides: set[SparseFile] = set()
        self._own = (os.geteuid(), os.getegid())

    @property
    def keys(self) -> TreeKeys:
        """The keys.

        Raises:
            KeysMissing: the tree is locked.
        """
        if self._keys is None:
            raise KeysMissing
        return self._keys

    @property
    def has_keys(self) -> bool:
        """Whether the tree is unlocked."""
        return self._keys is not None

    def unlock(self, keys: TreeKeys) -> None:
        """Take the keys and prove them on the root's directory id.

        Raises:
            DirectoryIdDamaged: the root's id does not open; they are wiped again.
        """
        self._keys = keys
        try:
            self._prove()
        except OSError:
            self.lock()
            raise

    def replace_keys(self, keys: TreeKeys) -> None:
        """Other keys from now on, which open everything that the present ones do. Nobody may be using the tree.

        Raises:
            KeysMissing: the tree was locked; the new keys are wiped.
        """
        with self._swap:
            old = self._keys
            if old is not None:
                self._keys = keys
        if old is None:
            keys.wipe()
            raise KeysMissing
        for node in self.nodes.all_nodes():
            if node.contents is not None:
                node.contents.wipe()
        for contents in tuple(self._besides):
            contents.wipe()
        old.wipe()

    def _prove(self) -> None:
        root = self.nodes.directory(self.nodes.root)
        try:
            root.directory_id = directory_ids.read(self.keys, root.fd)
        except FileNotFoundError:
            raise DirectoryIdDamaged("the root directory has no id file") from None

    def lock(self) -> None:
        """Wipe every key, also those of open files.

        A request that hangs in the backing store keeps its own file's key until it comes back, and not the lock: all else is wiped.
        """
        with self._swap:
            keys, self._keys = self._keys, None
        self.permissions.forget()
        self.nodes.tell_again()
        if keys is not None:
            keys.arena.close()
        deadline = time.monotonic() + _HELD_UP_S
        opened = [node.contents for node in self.nodes.all_nodes() if node.contents is not None]
        hanging = [contents for contents in (*opened, *self._besides) if not contents.wipe_by(deadline)]
        if keys is None:
            return
        keys.wipe_own()
        if hanging:
            log.warning(
                "lock: a request hangs in the backing store; its file's key is wiped when it comes back"
            )
            threading.Thread(target=_wipe_later, args=(hanging, keys), name="wipe", daemon=True).start()
        else:
            keys.arena.wipe()

    # -- names --------------------------------------------------------------------------------------------

    def directory_id(self, node: Node, *, lasting: bool = False) -> bytes:
        """The id of a directory, read once while its handle lasts.

        Args:
            node: the directory.
            lasting: an entry is about to be made: a directory that has no id is given one.

        Raises:
            DirectoryIdDamaged: its id file does not open, or is missing while there are entries.
            OSError: of the backing store.
        """
        handle = self.nodes.directory(node)
        known = handle.directory_id
        # Another host may have died while it removed the directory: then the id that we know is nowhere else.
        if known is None or (lasting and self.shared):
            keys = self.keys
            try:
                known = directory_ids.read(keys, handle.fd)
            except FileNotFoundError:
                if not lasting:
                    return directory_ids.stand_in(handle.fd)
                known = directory_ids.give(keys, handle.fd, known)
            handle.directory_id = known
        return known

    def forget_directory_id(self, status: os.stat_result) -> None:
        """The id file of a directory may be gone: it is read again before an entry is made."""
        node = self.nodes.find(status)
        if node is not None and node.handle is not None:
            node.handle.directory_id = None

    def encoded(self, parent: Node, name: bytes) -> str:
        """The encoded name, of any length, for an entry that is about to be made.

        Raises:
            OSError: ENAMETOOLONG; what :meth:`directory_id` raises.
        """
        return self._encrypted(parent, self.directory_id(parent, lasting=True), name)

    def stored(self, parent: Node, name: bytes) -> str:
        """The name in the ciphertext directory of an entry that is looked for.

        Raises:
            OSError: as :meth:`encoded`.
        """
        return names.stored_name(self._encrypted(parent, self.directory_id(parent), name))

    def _encrypted(self, parent: Node, directory_id: bytes, name: bytes) -> str:
        if len(name) > names.NAME_MAX:
            raise OSError(errno.ENAMETOOLONG, "name too long")
        keys = self.keys
        encoded = keys.encoded_name(directory_id, name)
        if keys.older is None:
            return encoded
        # A rotation of contents has not renamed everything yet: the entry that is there counts.
        fd = self.nodes.directory(parent).fd
        older = names.encrypt_name(keys.older.names, directory_id, name)
        if not exists(names.stored_name(encoded), fd) and exists(names.stored_name(older), fd):
            return older
        return encoded

    # -- objects ------------------------------------------------------------------------------------------

    def stat_entry(self, directory_fd: int, stored: str) -> os.stat_result:
        """Status of an entry, never following a link; a link's size is that of its encrypted target, wherever that is."""
        status = os.stat(stored, dir_fd=directory_fd, follow_symlinks=False)
        if links.may_be_long(status):
            return self.long_links.shown(status, lambda: os.readlink(stored, dir_fd=directory_fd))
        return status

    def stat_fd(self, fd: int) -> os.stat_result:
        """The same for an object that a descriptor leads to."""
        status = os.fstat(fd)
        if links.may_be_long(status):
            return self.long_links.shown(status, lambda: os.readlink("", dir_fd=fd))
        return status

    def stat_node(self, node: Node) -> os.stat_result:
        """Status of a node.

        Raises:
            OSError: ENOENT, or ESTALE if something else lies in its place.
        """
        own = node.backing or node.handle
        if own is not None:
            return self.stat_fd(own.fd)
        return self.at_its_place(node, lambda fd, stored: self._checked(node, self.stat_entry(fd, stored)))

    @contextmanager
    def held(self, node: Node) -> Iterator[int]:
        """A descriptor of a node, of any kind and perhaps O_PATH only: no link put in its place can mislead what is done through it.

        Raises:
            OSError: as :meth:`stat_node`.
        """
        pin = node.backing or node.handle
        if pin is None:
            pin = self.at_its_place(node, lambda fd, stored: self._pinned(node, fd, stored))
        yield pin.fd

    def at_its_place(self, node: Node, look: Callable[[int, str], _Found]) -> _Found:
        """What ``look`` finds, given the descriptor of a directory that the node lies in and its stored name there.

        Of several names one may be gone, if another host removed it: then the next is tried.

        Raises:
            OSError: what ``look`` raises at the last name; ESTALE, there is none.
        """
        while True:
            place = self.nodes.place(node)
            handle = self.nodes.directory(place[0])
            try:
                return look(handle.fd, place[1])
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ESTALE) or not self.nodes.misplaced(node, place):
                    raise

    def _pinned(self, node: Node, directory_fd: int, stored: str) -> PathHandle:
        pin = pinned(directory_fd, stored)
        self._checked(node, os.fstat(pin.fd))
        return pin

    def _checked(self, node: Node, status: os.stat_result) -> os.stat_result:
        if key_of(status) != node.key:
            raise OSError(errno.ESTALE, "another object is in its place")
        return status

    def contents(self, fd: int) -> SparseFile:
        """The contents behind an open ciphertext file, under the vault's cipher."""
        return self._content_file(fd, self.layout, self.shared, self.journal)

    @contextmanager
    def contents_besides(self, fd: int) -> Iterator[SparseFile]:
        """The same for a file that no node has open. A lock meanwhile waits for what uses its key, and wipes it."""
        contents = self.contents(fd)
        self._besides.add(contents)
        try:
            yield contents
        finally:
            self._besides.discard(contents)
            contents.wipe()

    def entry(self, parent: Node, stored: str, status: os.stat_result) -> bytes:
        """Tell the kernel of an object: ``fuse_entry_out``."""
        node = self.nodes.remember(parent, stored, status)
        return attributes.entry_out(node.id, self.timeout_s, attributes.pack(status, self.layout))

    def drop_capability(self, node: Node, ciphertext: Ciphertext) -> None:
        """What a change of owner, size or contents does to a program's file capabilities (HANDLE_KILLPRIV_V2)."""
        if not node.incapable:
            self.xattrs.drop_capability(ciphertext)
            node.incapable = not self.shared

    def unlinked(
        self, pin: PathHandle, status: os.stat_result, parent: Node, stored: str, *, last: bool
    ) -> None:
        """A name is gone: so are a long target's sidecar with the last one, and its place. Arguments as of :meth:`NodeTable.unlinked`."""
        if links.may_be_long(status):
            self.long_links.unlinked(pin, self.nodes.find(status))
        self.nodes.unlinked(pin, status, parent, stored, last=last)

    # -- moves, for who walks the tree while it is in use ---------------------------------------------------

    def note_moves(self, wanted: bool) -> None:
        """Keep a list of what gets another place, from now on or no longer."""
        with self.nodes.lock:
            self._moves = [] if wanted else None

    def moved_to(self, directory: PathHandle, stored: str) -> None:
        """An object gets that place. Said before, or under the node table's lock."""
        if self._moves is not None:
            with self.nodes.lock:
                if self._moves is not None:
                    self._moves.append((directory, stored))

    def take_moves(self) -> list[tuple[PathHandle, str]]:
        """The places noted since the last call."""
        with self.nodes.lock:
            moves = self._moves or []
            if self._moves is not None:
                self._moves = []
            return moves

    def owns(self, uid: int, gid: int) -> bool:
        """Whether what the daemon makes belongs to that user and group from the start."""
        return (uid, gid) == self._own


def _wipe_later(hanging: list[SparseFile], keys: TreeKeys) -> None:
    for contents in hanging:
        contents.wipe()
    keys.arena.wipe()
    scrub_stack()


def contents_of(node: Node) -> SparseFile:
    """The open contents of a node.

    Raises:
        OSError: EBADF, it is not open.
    """
    if node.contents is None:
        raise OSError(errno.EBADF, "the file is not open")
    return node.contents
