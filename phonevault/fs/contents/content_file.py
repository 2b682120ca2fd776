"""One open file's contents, whatever the cipher: descriptor, size, file key, and the requests that change its length.

One object serves every handle of a file, so that no two of them disagree on size or key.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

from phonevault.fs.contents.stored_file import StoredFile
from phonevault.fs.contents.turns import HostTurns
from phonevault.fs.errors import FileDamaged
from phonevault.fs.format.file_header import KEY_BYTES, FileHeader, open_header, parse_header, seal_header
from phonevault.fs.format.layout import HEADER_BYTES, Layout
from phonevault.fs.journal import Journal, volatile_journal
from phonevault.fs.key_arena import KeyArena
from phonevault.fs.keys import TreeKeys

log = logging.getLogger(__name__)

_LONGEST_WRITE_BYTES = 1 << 20


@dataclass(frozen=True)
class OlderBlocks:
    """What the blocks behind the border of a file half encrypted anew are sealed with (docs/format.md 1.8).

    Attributes:
        first: number of the first of them.
        file_id: the file's id before.
        key: its key before.
        slot: where that lies.
    """

    first: int
    file_id: bytes
    key: memoryview
    slot: memoryview


class ContentFile(StoredFile, ABC):
    """Contents of one file.

    Args:
        fd: the ciphertext file, open for reading, and for writing if anything is written.
        layout: sizes and offsets under the vault's cipher.
        shared: other hosts may change the file: its length and header are looked at anew at every request.
        journal: of the mount. Without one, what a change replaces is kept in this process's memory.
    """

    cipher_id: int
    """``FileHeader.cipher`` of the subclass."""

    def __init__(self, fd: int, layout: Layout, shared: bool = False, journal: Journal | None = None) -> None:
        super().__init__(fd, journal or volatile_journal(layout.scratch_bytes(_LONGEST_WRITE_BYTES)))
        self.guard = threading.Lock()
        self.lock = HostTurns(fd, self.guard, self._look_again) if shared else self.guard
        self._layout = layout
        self._shared = shared
        self._header: FileHeader | None = None
        self._stored_header = b""
        self._arena: KeyArena | None = None
        self._slot: memoryview | None = None
        self._older: OlderBlocks | None = None

    def size(self) -> int:
        """Size of the plaintext, in bytes."""
        if self._shared:
            self._cipher_size = os.fstat(self.fd).st_size
        return self._layout.plain_size(self._cipher_size)

    def refuse_broken(self) -> None:
        """A file cut to less than one block must not pass for an empty one.

        Raises:
            FileDamaged: its length is none that writing leaves.
        """
        if self._layout.broken(self._cipher_size):
            raise self._damage(0, "is missing: the file was cut")

    def wipe(self) -> None:
        """Forget the key; it is unwrapped again at the next request that needs it."""
        with self.guard:
            self._drop_key()

    def wipe_by(self, deadline_s: float) -> bool:
        """The same, unless a request of the file does not end by then (time.monotonic()): then False."""
        if not self.guard.acquire(timeout=max(0.0, deadline_s - time.monotonic())):
            return False
        try:
            self._drop_key()
        finally:
            self.guard.release()
        return True

    def changed_below(self) -> None:
        """The file was encrypted anew, under the lock: its header is read again at the next request."""
        self._drop_key()

    def _look_again(self) -> None:
        """What another host may have changed since our last request: the length; the file id and key, by cutting the file to nothing."""
        self._cipher_size = os.fstat(self.fd).st_size
        if self._header is not None and os.pread(self.fd, HEADER_BYTES, 0) != self._stored_header:
            self._drop_key()

    # -- requests -----------------------------------------------------------------------------------------

    def read(
        self, keys: TreeKeys, offset: int, size: int, cipher: memoryview, plain: memoryview
    ) -> memoryview:
        """Plaintext from ``offset``, up to ``size`` bytes, as a slice of ``plain``; short only at the end of the file.

        Raises:
            FileDamaged: it does not decrypt, or the file was cut.
            OSError: of the backing file.
        """
        with self.lock:
            total = self.size()
            if offset >= total:
                return plain[:0]
            return self._read(keys, offset, min(offset + size, total), total, cipher, plain)

    def append(self, keys: TreeKeys, data: memoryview, cipher: memoryview, plain: memoryview) -> None:
        """Write ``data`` behind the end, wherever another host has moved it.

        Raises:
            FileDamaged, OSError: as :meth:`write`.
        """
        with self.lock:
            self._write_or_undo(keys, self.size(), data, cipher, plain)

    def write(
        self, keys: TreeKeys, offset: int, data: memoryview, cipher: memoryview, plain: memoryview
    ) -> None:
        """Write ``data`` at ``offset``; a gap behind the old end becomes zeros.

        Raises:
            FileDamaged: old data that is needed does not decrypt.
            OSError: of the backing file (ENOSPC, EFBIG, …); what was there before is still there.
        """
        with self.lock:
            self._write_or_undo(keys, offset, data, cipher, plain)

    def wrap_anew(self, keys: TreeKeys) -> bool:
        """Wrap the file key under the current epoch, if it is not.

        Returns:
            Whether anything was written. It is not durable yet.

        Raises:
            FileDamaged: the header does not open.
            OSError: of the backing file; the header is what it was.
        """
        with self.lock:
            if self._cipher_size <= HEADER_BYTES:
                return False
            header, _ = self._unlocked(keys)
            if header.epoch == keys.epoch:
                return False
            self._rewrite_header(keys, header._replace(epoch=keys.epoch))
            return True

    def truncate(self, keys: TreeKeys, size: int, cipher: memoryview, plain: memoryview) -> None:
        """Cut or extend to ``size`` bytes.

        Raises:
            FileDamaged, OSError: as :meth:`write`.
        """
        with self.lock:
            total = self.size()
            try:
                self._truncate(keys, size, cipher, plain)
            except OSError:
                self._shrink_back(keys, total, cipher, plain)
                raise

    def _write_or_undo(
        self, keys: TreeKeys, offset: int, data: memoryview, cipher: memoryview, plain: memoryview
    ) -> None:
        total = self.size()
        try:
            self._write(keys, offset, data, cipher, plain)
        except OSError:
            self._shrink_back(keys, total, cipher, plain)
            raise

    def _truncate(self, keys: TreeKeys, size: int, cipher: memoryview, plain: memoryview) -> None:
        total = self.size()
        if size == 0:
            self.settle()
            os.ftruncate(self.fd, 0)
            self._cipher_size = 0
            self._drop_key()
        elif size > total:
            self.refuse_broken()
            self._write(keys, size - 1, memoryview(b"\0"), cipher, plain)
        elif size < total:
            self._cut(keys, size, total, cipher, plain)
        else:
            # A new time of change, also where the size stays (ftruncate(2)).
            os.ftruncate(self.fd, self._cipher_size)

    def _shrink_back(self, keys: TreeKeys, total: int, cipher: memoryview, plain: memoryview) -> None:
        """A write failed after a gap in front of it was made: take the gap back."""
        if self.size() > total:
            with contextlib.suppress(OSError):
                self._truncate(keys, total, cipher, plain)

    # -- what a cipher adds -------------------------------------------------------------------------------

    @abstractmethod
    def _read(
        self, keys: TreeKeys, offset: int, end: int, total: int, cipher: memoryview, plain: memoryview
    ) -> memoryview:
        """Plaintext ``offset`` … ``end`` of a file of ``total`` bytes, as a slice of ``plain``."""

    @abstractmethod
    def _write(
        self, keys: TreeKeys, offset: int, data: memoryview, cipher: memoryview, plain: memoryview
    ) -> None:
        """Write under the lock."""

    @abstractmethod
    def _cut(self, keys: TreeKeys, size: int, total: int, cipher: memoryview, plain: memoryview) -> None:
        """Shorten to ``size`` > 0 bytes under the lock."""

    @abstractmethod
    def _forget_ciphers(self) -> None:
        """Drop every object that holds the file key."""

    def _put(
        self, sealed: memoryview, where: int, end: int | None = None, *, in_one_piece: bool = True
    ) -> None:
        """Write ciphertext of this file: see :meth:`StoredFile.replace`."""
        if self._header is None:
            raise AssertionError("contents are written before their header is known")
        try:
            self.replace(self._header.file_id, sealed, where, end, in_one_piece=in_one_piece)
        except OSError:
            if not self._cipher_size:
                self._drop_key()
            raise

    # -- key ----------------------------------------------------------------------------------------------

    def _unlocked(self, keys: TreeKeys) -> tuple[FileHeader, memoryview]:
        """Header and file key, read and unwrapped at first use."""
        if self._header is not None and self._slot is not None:
            return self._header, self._slot[: KEY_BYTES[self.cipher_id]]
        raw = os.pread(self.fd, HEADER_BYTES, 0)
        header = parse_header(raw)
        if header.cipher != self.cipher_id or header.block_size != self._layout.block_size:
            raise FileDamaged("a file's header names another cipher or block size than the vault's")
        slot = keys.arena.take()
        try:
            open_header(raw, header, keys.file_keys_of(header.epoch), slot[: KEY_BYTES[self.cipher_id]])
            if header.halfway:
                self._older = self._older_blocks(keys, header)
        except FileDamaged:
            keys.arena.give_back(slot)
            raise
        self._stored_header = raw
        return self._adopt(keys.arena, header, slot)

    def _older_blocks(self, keys: TreeKeys, header: FileHeader) -> OlderBlocks:
        border = keys.borders.get(header.file_id)
        if border is None:
            raise FileDamaged("a file is half encrypted anew, and how far is not known")
        old = parse_header(border.old_header)
        slot = keys.arena.take()
        key = slot[: KEY_BYTES[self.cipher_id]]
        try:
            open_header(border.old_header, old, keys.file_keys_of(old.epoch), key)
        except FileDamaged:
            keys.arena.give_back(slot)
            raise
        return OlderBlocks(border.blocks, old.file_id, key, slot)

    def _new_header(self, keys: TreeKeys, *, sparse: bool) -> bytes:
        """A fresh id and key for a file that is empty so far."""
        self._drop_key()
        epoch, file_keys = keys.newest
        header = FileHeader(self.cipher_id, self._layout.block_size, sparse, epoch, os.urandom(16))
        slot = keys.arena.take_random()
        self._adopt(keys.arena, header, slot)
        self._stored_header = seal_header(header, file_keys, slot[: KEY_BYTES[self.cipher_id]])
        return self._stored_header

    def _mark_sparse(self, keys: TreeKeys, *, behind_the_end: bool = False) -> None:
        """Set the sparse flag before the first hole is made.

        A power cut that kept a hole and lost the flag would leave damage. Inside the file that would be damage of what was
        there before, so the flag must be on stable storage. Behind the end (where the kernel's write-back, out of order, makes
        holes for a moment) it is enough that it was written out before the length can be.
        """
        header, _ = self._unlocked(keys)
        if not header.sparse:
            # The epoch stays: it says under which key the contents are.
            self._rewrite_header(keys, header._replace(sparse=True))
            if behind_the_end:
                self.write_out(HEADER_BYTES)
            else:
                self.sync(data_only=True)

    def _rewrite_header(self, keys: TreeKeys, header: FileHeader) -> None:
        """Wrap the file key anew, under a header that says something else. The 128 bytes lie in one page: all of them are written."""
        _, key = self._unlocked(keys)
        raw = seal_header(header, keys.file_keys_of(header.epoch), key)
        self._put(memoryview(raw), 0)
        self._header, self._stored_header = header, raw

    def _adopt(self, arena: KeyArena, header: FileHeader, slot: memoryview) -> tuple[FileHeader, memoryview]:
        self._arena, self._header, self._slot = arena, header, slot
        return header, slot[: KEY_BYTES[self.cipher_id]]

    def _drop_key(self) -> None:
        self._forget_ciphers()
        self._header = None
        if self._slot is not None and self._arena is not None:
            self._arena.give_back(self._slot)
            if self._older is not None:
                self._arena.give_back(self._older.slot)
        self._older = None
        self._slot = self._arena = None

    def _damage(self, block: int, what: str) -> FileDamaged:
        log.warning("inode %d: block %d %s", os.fstat(self.fd).st_ino, block, what)
        return FileDamaged(f"block {block} {what}")
