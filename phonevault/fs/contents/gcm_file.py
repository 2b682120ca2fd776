"""Contents under AES-256-GCM (docs/format.md 4.1): blocks that are authentic, in their place, of their file."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from phonevault.fs.contents.block_run import SHORTEST, block_run
from phonevault.fs.contents.sparse_file import SparseFile
from phonevault.fs.format.file_header import CIPHER_GCM, FileHeader
from phonevault.fs.format.layout import NONCE_BYTES, OVERHEAD_BYTES
from phonevault.fs.keys import TreeKeys

_END_BIT = 1
_NO_NONCE = bytes(NONCE_BYTES)
_WITHOUT_END_BIT = bytes(value & ~_END_BIT for value in range(256))


class GcmFile(SparseFile):
    """Contents of one file under AES-256-GCM."""

    cipher_id = CIPHER_GCM
    _aead: AESGCM | None = None
    _older_aead: AESGCM | None = None
    _proved_length = 0
    """Length of the ciphertext file whose last block was found or written as the last one."""

    def _read(
        self, keys: TreeKeys, offset: int, end: int, total: int, cipher: memoryview, plain: memoryview
    ) -> memoryview:
        block_size = self._layout.block_size
        first, last = offset // block_size, (end - 1) // block_size
        self._open_blocks(keys, first, last, total, cipher, plain)
        return plain[offset - first * block_size : end - first * block_size]

    def _forget_ciphers(self) -> None:
        self._aead = self._older_aead = None
        self._proved_length = 0

    def _ciphers(self, keys: TreeKeys) -> tuple[AESGCM, FileHeader]:
        """Cipher and header, made at first use."""
        if self._aead is not None and self._header is not None:
            return self._aead, self._header
        header, key = self._unlocked(keys)
        self._aead = AESGCM(key)
        if self._older is not None:
            self._older_aead = AESGCM(self._older.key)
        return self._aead, header

    def _sealing(self, keys: TreeKeys, block: int) -> tuple[AESGCM, bytes]:
        """Cipher and file id of a block."""
        aead, header = self._ciphers(keys)
        if self._older is None or self._older_aead is None or block < self._older.first:
            return aead, header.file_id
        return self._older_aead, self._older.file_id

    # -- blocks -------------------------------------------------------------------------------------------

    def _open_blocks(
        self, keys: TreeKeys, first: int, last: int, total: int, cipher: memoryview, plain: memoryview
    ) -> None:
        """Decrypt blocks ``first`` … ``last`` into ``plain``, one behind the other."""
        _, header = self._ciphers(keys)
        aead, file_id = self._sealing(keys, first)
        border = self._older.first if self._older is not None else 0
        layout = self._layout
        block_size, cipher_block = layout.block_size, layout.cipher_block
        got = os.preadv(self.fd, [cipher[: (last - first + 1) * cipher_block]], layout.offset_of(first))
        end_block = (total - 1) // block_size
        whole = 0
        if self._older is None and not header.sparse:
            count = min(last + 1 - first, end_block - first, got // cipher_block)
            whole = self._open_run(aead, file_id, first, count, cipher, plain)
        decrypt, place = aead.decrypt_into, whole * block_size
        for block in range(first + whole, last + 1):
            if block == border and border:
                aead, file_id = self._sealing(keys, block)
                decrypt = aead.decrypt_into
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

    def _open_run(
        self, aead: AESGCM, file_id: bytes, first: int, count: int, cipher: memoryview, plain: memoryview
    ) -> int:
        """Decrypt blocks that were read, if all of them are whole ones: no holes, and none the last of the file.

        Returns:
            How many are decrypted; none, if one of them does not open: which, the caller finds.
        """
        if count < SHORTEST:
            return 0
        try:
            block_run(cipher, plain, self._layout).open(aead, file_id, first, count)
        except InvalidTag:
            return 0
        return count

    def _write(
        self, keys: TreeKeys, offset: int, data: memoryview, cipher: memoryview, plain: memoryview
    ) -> None:
        total = self.size()
        layout, block_size = self._layout, self._layout.block_size
        end = offset + len(data)
        new_total = max(total, end)
        first, last = offset // block_size, (end - 1) // block_size
        if total and end > (total - 1) // block_size * block_size:
            self._prove_end(keys, total, cipher, plain)
        prefix = self._prepare(keys, total, first, cipher, plain)
        aead, file_id = self._sealing(keys, first)
        border = self._older.first if self._older is not None else 0
        end_block = (new_total - 1) // block_size
        # Nonce rule: 95 random bits under the file's own key; the lowest bit of the first byte is the end bit.
        nonces = bytearray(os.urandom(NONCE_BYTES * (last - first + 1)))
        nonces[::NONCE_BYTES] = nonces[::NONCE_BYTES].translate(_WITHOUT_END_BIT)
        position = len(prefix)
        cipher[:position] = prefix
        encrypt = aead.encrypt_into
        whole = min(end // block_size, end_block) - first
        if whole < SHORTEST or offset % block_size or self._older is not None:
            whole = 0
        else:
            block_run(cipher, plain, layout, position).seal(aead, file_id, first, whole, data, nonces)
            position += whole * layout.cipher_block
        for block in range(first + whole, last + 1):
            if block == border and border:
                aead, file_id = self._sealing(keys, block)
                encrypt = aead.encrypt_into
            begin = block * block_size
            stop = min(begin + block_size, new_total)
            if offset <= begin and end >= stop:
                source = data[begin - offset : stop - offset]
            else:
                source = self._merge(keys, block, stop, total, offset, data, cipher[position:], plain)
            number = (block - first) * NONCE_BYTES
            nonce = nonces[number : number + NONCE_BYTES]
            nonce[0] |= block == end_block
            cipher[position : position + NONCE_BYTES] = nonce
            position += NONCE_BYTES
            sealed = stop - begin + OVERHEAD_BYTES - NONCE_BYTES
            encrypt(
                nonce, source, file_id + block.to_bytes(8, "little"), cipher[position : position + sealed]
            )
            position += sealed
        where = 0 if prefix and first == 0 else layout.offset_of(first)
        self._put(cipher[:position], where)
        if last >= end_block:
            self._proved_length = self._cipher_size

    def _prove_end(self, keys: TreeKeys, total: int, cipher: memoryview, plain: memoryview) -> None:
        """Before a write that makes a new end: a file that was cut must not look whole after it.

        Raises:
            FileDamaged: the last block was not the last one.
        """
        if self._proved_length != self._cipher_size:
            block = (total - 1) // self._layout.block_size
            self._open_blocks(keys, block, block, total, cipher, plain)
            self._proved_length = self._cipher_size

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
            self._mark_sparse(keys, behind_the_end=True)
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
        sealed = self._seal(keys, block, plain[: self._layout.block_size])
        self._put(sealed, self._layout.offset_of(block))

    def _cut(self, keys: TreeKeys, size: int, total: int, cipher: memoryview, plain: memoryview) -> None:
        block_size = self._layout.block_size
        block = (size - 1) // block_size
        self._open_blocks(keys, block, block, total, cipher, plain)
        sealed = self._seal(keys, block, plain[: size - block * block_size])
        self._put(sealed, self._layout.offset_of(block), self._layout.cipher_size(size))

    def _seal(self, keys: TreeKeys, block: int, source: memoryview) -> memoryview:
        """One block as the last of its file. Nonce rule as in :meth:`_write`."""
        aead, file_id = self._sealing(keys, block)
        nonce = bytearray(os.urandom(NONCE_BYTES))
        nonce[0] |= _END_BIT
        sealed = bytearray(len(source) + OVERHEAD_BYTES)
        sealed[:NONCE_BYTES] = nonce
        aead.encrypt_into(
            nonce, source, file_id + block.to_bytes(8, "little"), memoryview(sealed)[NONCE_BYTES:]
        )
        return memoryview(sealed)
