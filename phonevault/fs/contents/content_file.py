"""One open file's contents, whatever the cipher: descriptor, size, file key, and the requests that change its length.

One object serves every handle of a file, so that no two of them disagree on size or key.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace

from phonevault.fs.errors import FileDamaged
from phonevault.fs.format.file_header import KEY_BYTES, FileHeader, open_header, parse_header, seal_header
from phonevault.fs.format.layout import HEADER_BYTES, Layout
from phonevault.fs.key_arena import KeyArena
from phonevault.fs.keys import TreeKeys

log = logging.getLogger(__name__)


class ContentFile(ABC):
    """Contents of one file.

    Args:
        fd: the ciphertext file, open for reading, and for writing if anything is written.
        layout: sizes and offsets under the vault's cipher.
        shared: other hosts may change the file: its size is asked for at every request.
    """

    cipher_id: int
    """``FileHeader.cipher`` of the subclass."""

    def __init__(self, fd: int, layout: Layout, shared: bool = False) -> None:
        self.fd = fd
        self.lock = threading.Lock()
        self._layout = layout
        self._shared = shared
        self._cipher_size = os.fstat(fd).st_size
        self._header: FileHeader | None = None
        self._arena: KeyArena | None = None
        self._slot: memoryview | None = None

    def size(self) -> int:
        """Size of the plaintext, in bytes."""
        if self._shared:
            self._cipher_size = os.fstat(self.fd).st_size
        return self._layout.plain_size(self._cipher_size)

    def wipe(self) -> None:
        """Forget the key; it is unwrapped again at the next request that needs it."""
        with self.lock:
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

    def write(
        self, keys: TreeKeys, offset: int, data: memoryview, cipher: memoryview, plain: memoryview
    ) -> None:
        """Write ``data`` at ``offset``; a gap behind the old end becomes zeros.

        Raises:
            FileDamaged: old data that is needed does not decrypt.
            OSError: of the backing file (ENOSPC, EFBIG, …); what was there before is still there.
        """
        with self.lock:
            self._write(keys, offset, data, cipher, plain)

    def truncate(self, keys: TreeKeys, size: int, cipher: memoryview, plain: memoryview) -> None:
        """Cut or extend to ``size`` bytes.

        Raises:
            FileDamaged, OSError: as :meth:`write`.
        """
        with self.lock:
            total = self.size()
            if size == 0:
                os.ftruncate(self.fd, 0)
                self._cipher_size = 0
                self._drop_key()
            elif size > total:
                self._write(keys, size - 1, memoryview(b"\0"), cipher, plain)
            elif size < total:
                self._cut(keys, size, total, cipher, plain)

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
        self, sealed: memoryview, where: int, old_end: Callable[[], tuple[int, memoryview]] | None = None
    ) -> None:
        """Write ciphertext whole, or take back what went beyond the old end.

        Args:
            sealed: ciphertext.
            where: offset in the ciphertext file.
            old_end: makes the file's old last piece anew (its offset and ciphertext), if the write begins by replacing it.
        """
        done = 0
        try:
            while done < len(sealed):
                done += os.pwrite(self.fd, sealed[done:], where + done)
        except OSError:
            if where + done > self._cipher_size:
                with contextlib.suppress(OSError):
                    os.ftruncate(self.fd, self._cipher_size)
                if self._cipher_size == 0:
                    self._drop_key()
            if done and old_end is not None:
                place, piece = old_end()
                with contextlib.suppress(OSError):
                    os.pwrite(self.fd, piece, place)
            raise
        self._cipher_size = max(self._cipher_size, where + done)

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
            open_header(raw, header, keys.file_keys, slot[: KEY_BYTES[self.cipher_id]])
        except FileDamaged:
            keys.arena.give_back(slot)
            raise
        return self._adopt(keys.arena, header, slot)

    def _new_header(self, keys: TreeKeys, *, sparse: bool) -> bytes:
        """A fresh id and key for a file that is empty so far."""
        self._drop_key()
        header = FileHeader(self.cipher_id, self._layout.block_size, sparse, keys.epoch, os.urandom(16))
        slot = keys.arena.take_random()
        self._adopt(keys.arena, header, slot)
        return seal_header(header, keys.file_keys, slot[: KEY_BYTES[self.cipher_id]])

    def _mark_sparse(self, keys: TreeKeys) -> None:
        """Set the sparse flag before the first hole is made."""
        header, _ = self._unlocked(keys)
        if not header.sparse and self._slot is not None:
            header = replace(header, sparse=True, epoch=keys.epoch)
            self._put(
                memoryview(seal_header(header, keys.file_keys, self._slot[: KEY_BYTES[self.cipher_id]])), 0
            )
            self._header = header

    def _adopt(self, arena: KeyArena, header: FileHeader, slot: memoryview) -> tuple[FileHeader, memoryview]:
        self._arena, self._header, self._slot = arena, header, slot
        return header, slot[: KEY_BYTES[self.cipher_id]]

    def _drop_key(self) -> None:
        self._forget_ciphers()
        self._header = None
        if self._slot is not None and self._arena is not None:
            self._arena.give_back(self._slot)
        self._slot = self._arena = None

    def _damage(self, block: int, what: str) -> FileDamaged:
        log.warning("inode %d: block %d %s", os.fstat(self.fd).st_ino, block, what)
        return FileDamaged(f"block {block} {what}")
