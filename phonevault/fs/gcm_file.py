"""The contents of one open file under AES-256-GCM (docs/format.md 4.1): read, write, truncate over a descriptor.

One object serves every handle of a file, so that no two of them disagree on size or key.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from dataclasses import replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from phonevault.fs.errors import FileDamaged
from phonevault.fs.file_header import (
    CIPHER_GCM,
    KEY_BYTES,
    FileHeader,
    open_header,
    parse_header,
    seal_header,
)
from phonevault.fs.key_arena import KeyArena
from phonevault.fs.keys import TreeKeys
from phonevault.fs.layout import HEADER_BYTES, NONCE_BYTES, OVERHEAD_BYTES, Layout

log = logging.getLogger(__name__)

_END_BIT = 1
_KEY_BYTES = KEY_BYTES[CIPHER_GCM]
_NO_NONCE = bytes(NONCE_BYTES)


class GcmFile:
    """Contents of one file.

    Args:
        fd: the ciphertext file, open for reading, and for writing if anything is written.
        layout: block arithmetic of the vault.
        shared: other hosts may change the file: its size is asked for at every request.
    """

    def __init__(self, fd: int, layout: Layout, shared: bool = False) -> None:
        self.fd = fd
        self.lock = threading.Lock()
        self._layout = layout
        self._shared = shared
        self._cipher_size = os.fstat(fd).st_size
        self._header: FileHeader | None = None
        self._arena: KeyArena | None = None
        self._slot: memoryview | None = None
        self._aead: AESGCM | None = None

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
            FileDamaged: a block does not open, or the file was cut.
            OSError: of the backing file.
        """
        with self.lock:
            total = self.size()
            if offset >= total:
                return plain[:0]
            end = min(offset + size, total)
            block_size = self._layout.block_size
            first, last = offset // block_size, (end - 1) // block_size
            self._open_blocks(keys, first, last, total, cipher, plain)
            return plain[offset - first * block_size : end - first * block_size]

    def write(
        self, keys: TreeKeys, offset: int, data: memoryview, cipher: memoryview, plain: memoryview
    ) -> None:
        """Write ``data`` at ``offset``; a gap behind the old end becomes zeros.

        Raises:
            FileDamaged: an old block that is needed does not open.
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

    # -- blocks -------------------------------------------------------------------------------------------

    def _open_blocks(
        self, keys: TreeKeys, first: int, last: int, total: int, cipher: memoryview, plain: memoryview
    ) -> None:
        """Decrypt blocks ``first`` … ``last`` into ``plain``, one behind the other."""
        aead, header = self._unlocked(keys)
        layout = self._layout
        block_size, cipher_block = layout.block_size, layout.cipher_block
        got = os.preadv(self.fd, [cipher[: (last - first + 1) * cipher_block]], layout.offset_of(first))
        end_block = (total - 1) // block_size
        decrypt, file_id, place = aead.decrypt_into, header.file_id, 0
        for block in range(first, last + 1):
            start = (block - first) * cipher_block
            stop = min(start + cipher_block, got)
            length = stop - start - OVERHEAD_BYTES
            if length <= 0:
                raise self._damage(block, "is missing")
            nonce = cipher[start : start + NONCE_BYTES]
            out = plain[place : place + length]
            place += length
            if header.sparse and nonce == _NO_NONCE and block != end_block and not any(cipher[start:stop]):
                out[:] = bytes(length)
                continue
            if block == end_block and not nonce[0] & _END_BIT:
                raise self._damage(block, "was not the last one: the file was cut")
            try:
                decrypt(nonce, cipher[start + NONCE_BYTES : stop], file_id + block.to_bytes(8, "little"), out)
            except InvalidTag:
                raise self._damage(block, "does not open") from None

    def _write(
        self, keys: TreeKeys, offset: int, data: memoryview, cipher: memoryview, plain: memoryview
    ) -> None:
        total = self.size()
        layout, block_size = self._layout, self._layout.block_size
        end = offset + len(data)
        new_total = max(total, end)
        first, last = offset // block_size, (end - 1) // block_size
        prefix = self._prepare(keys, total, first, cipher, plain)
        aead, header = self._unlocked(keys)
        end_block = (new_total - 1) // block_size
        nonces = memoryview(os.urandom(NONCE_BYTES * (last - first + 1)))
        position = len(prefix)
        cipher[:position] = prefix
        encrypt, file_id = aead.encrypt_into, header.file_id
        for block in range(first, last + 1):
            begin = block * block_size
            stop = min(begin + block_size, new_total)
            if offset <= begin and end >= stop:
                source = data[begin - offset : stop - offset]
            else:
                source = self._merge(keys, block, stop, total, offset, data, cipher[position:], plain)
            # Nonce rule: 95 random bits under the file's own key; the lowest bit of the first byte is the end bit.
            number = (block - first) * NONCE_BYTES
            nonce = bytearray(nonces[number : number + NONCE_BYTES])
            nonce[0] = nonce[0] & ~_END_BIT | (block == end_block)
            cipher[position : position + NONCE_BYTES] = nonce
            position += NONCE_BYTES
            sealed = stop - begin + OVERHEAD_BYTES - NONCE_BYTES
            encrypt(
                nonce, source, file_id + block.to_bytes(8, "little"), cipher[position : position + sealed]
            )
            position += sealed
        where = 0 if prefix and first == 0 else layout.offset_of(first)
        self._put(cipher[:position], where)

    def _prepare(
        self, keys: TreeKeys, total: int, first: int, cipher: memoryview, plain: memoryview
    ) -> bytes:
        """Before a write that begins in block ``first``: header, sparse flag, and the old last block made whole.

        Returns:
            The header's bytes if they can be written in one piece with block 0, else nothing.
        """
        blocks = self._layout.blocks_of(total)
        holes = first > blocks
        if total == 0:
            raw = self._new_header(keys, sparse=holes)
            if first == 0:
                return raw
            self._put(memoryview(raw), 0)
            return b""
        if holes:
            self._mark_sparse(keys)
        if first >= blocks and total % self._layout.block_size:
            self._pad_last(keys, total, cipher, plain)
        return b""

    def _merge(
        self,
        keys: TreeKeys,
        block: int,
        stop: int,
        total: int,
        offset: int,
        data: memoryview,
        cipher: memoryview,
        plain: memoryview,
    ) -> memoryview:
        """A block's new plaintext where ``data`` covers only a part of it. ``stop`` is where the block will end."""
        begin = block * self._layout.block_size
        old = max(0, min(total, stop) - begin)
        length = stop - begin
        if old:
            self._open_blocks(keys, block, block, total, cipher, plain)
        plain[old:length] = bytes(length - old)
        low, high = max(offset, begin), min(offset + len(data), stop)
        plain[low - begin : high - begin] = data[low - offset : high - offset]
        return plain[:length]

    def _pad_last(self, keys: TreeKeys, total: int, cipher: memoryview, plain: memoryview) -> None:
        """Extend the old last block with zeros to a whole one; it still may have been the last (end bit)."""
        block, length = divmod(total, self._layout.block_size)
        self._open_blocks(keys, block, block, total, cipher, plain)
        plain[length : self._layout.block_size] = bytes(self._layout.block_size - length)
        self._put(self._seal(keys, block, plain[: self._layout.block_size]), self._layout.offset_of(block))

    def _cut(self, keys: TreeKeys, size: int, total: int, cipher: memoryview, plain: memoryview) -> None:
        block_size = self._layout.block_size
        block = (size - 1) // block_size
        self._open_blocks(keys, block, block, total, cipher, plain)
        sealed = self._seal(keys, block, plain[: size - block * block_size])
        self._put(sealed, self._layout.offset_of(block))
        self._cipher_size = self._layout.cipher_size(size)
        os.ftruncate(self.fd, self._cipher_size)

    def _seal(self, keys: TreeKeys, block: int, source: memoryview) -> memoryview:
        """One block as the last of its file. Nonce rule as in :meth:`_write`."""
        aead, header = self._unlocked(keys)
        nonce = bytearray(os.urandom(NONCE_BYTES))
        nonce[0] |= _END_BIT
        sealed = bytearray(len(source) + OVERHEAD_BYTES)
        sealed[:NONCE_BYTES] = nonce
        aead.encrypt_into(
            nonce, source, header.file_id + block.to_bytes(8, "little"), memoryview(sealed)[NONCE_BYTES:]
        )
        return memoryview(sealed)

    def _put(self, sealed: memoryview, where: int) -> None:
        """Write ciphertext whole, or take back what went beyond the old end."""
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
            raise
        self._cipher_size = max(self._cipher_size, where + done)

    # -- key ----------------------------------------------------------------------------------------------

    def _unlocked(self, keys: TreeKeys) -> tuple[AESGCM, FileHeader]:
        """Cipher and header, read and unwrapped at first use."""
        if self._aead is not None and self._header is not None:
            return self._aead, self._header
        raw = os.pread(self.fd, HEADER_BYTES, 0)
        header = parse_header(raw)
        if header.cipher != CIPHER_GCM or header.block_size != self._layout.block_size:
            raise FileDamaged("a file's header names another cipher or block size than the vault's")
        slot = keys.arena.take()
        try:
            open_header(raw, header, keys.file_keys, slot[:_KEY_BYTES])
        except FileDamaged:
            keys.arena.give_back(slot)
            raise
        return self._adopt(keys.arena, header, slot)

    def _new_header(self, keys: TreeKeys, *, sparse: bool) -> bytes:
        """A fresh id and key for a file that is empty so far."""
        self._drop_key()
        header = FileHeader(CIPHER_GCM, self._layout.block_size, sparse, keys.epoch, os.urandom(16))
        slot = keys.arena.take_random()
        self._adopt(keys.arena, header, slot)
        return seal_header(header, keys.file_keys, slot[:_KEY_BYTES])

    def _mark_sparse(self, keys: TreeKeys) -> None:
        """Set the sparse flag before the first hole is made."""
        _, header = self._unlocked(keys)
        if not header.sparse and self._slot is not None:
            header = replace(header, sparse=True, epoch=keys.epoch)
            self._put(memoryview(seal_header(header, keys.file_keys, self._slot[:_KEY_BYTES])), 0)
            self._header = header

    def _adopt(self, arena: KeyArena, header: FileHeader, slot: memoryview) -> tuple[AESGCM, FileHeader]:
        self._arena, self._header, self._slot = arena, header, slot
        self._aead = AESGCM(slot[:_KEY_BYTES])
        return self._aead, header

    def _drop_key(self) -> None:
        self._aead = self._header = None
        if self._slot is not None and self._arena is not None:
            self._arena.give_back(self._slot)
        self._slot = self._arena = None

    def _damage(self, block: int, what: str) -> FileDamaged:
        log.warning("inode %d: block %d %s", os.fstat(self.fd).st_ino, block, what)
        return FileDamaged(f"block {block} {what}")
