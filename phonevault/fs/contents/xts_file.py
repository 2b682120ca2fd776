"""Contents under AES-256-XTS (docs/format.md 4.2): fast, length kept, **no integrity**.

XTS does not chain: a run of 16-byte blocks in the middle of a data unit is encrypted without reading the rest of it. The
library takes only whole units from their beginning, so dummy bytes stand in front; what they give is thrown away.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

from keyslots.memory import wipe
from phonevault.fs.contents.sparse_file import SparseFile
from phonevault.fs.errors import FileDamaged
from phonevault.fs.format.file_header import CIPHER_XTS
from phonevault.fs.format.layout import AES_BLOCK_BYTES, HEADER_BYTES, PAGE_BYTES
from phonevault.fs.keys import TreeKeys

_ZERO_PAGE = bytes(PAGE_BYTES)


def _down(value: int, step: int) -> int:
    return value - value % step


def _up(value: int, step: int) -> int:
    return value + -value % step


class XtsFile(SparseFile):
    """Contents of one file under AES-256-XTS."""

    cipher_id = CIPHER_XTS

    def _forget_ciphers(self) -> None:
        """Nothing outlives a request: a cipher is made for each data unit."""

    def _read(
        self, keys: TreeKeys, offset: int, end: int, total: int, cipher: memoryview, plain: memoryview
    ) -> memoryview:
        header, key = self._unlocked(keys)
        step = PAGE_BYTES if header.sparse else AES_BLOCK_BYTES
        low, high = _down(offset, step), min(_up(end, step), _up(total, AES_BLOCK_BYTES))
        base = low % self._layout.block_size
        stored = cipher[base : base + high - low]
        if os.preadv(self.fd, [stored], HEADER_BYTES + low) != len(stored):
            raise FileDamaged("the file is shorter than its length says")
        self._code(key, low, high, cipher, plain, encrypt=False)
        if header.sparse:
            for place in range(0, len(stored), PAGE_BYTES):
                page = bytes(stored[place : place + PAGE_BYTES])
                if page == _ZERO_PAGE:
                    plain[base + place : base + place + PAGE_BYTES] = _ZERO_PAGE
        start = base + offset - low
        return plain[start : start + end - offset]

    def _write(
        self, keys: TreeKeys, offset: int, data: memoryview, cipher: memoryview, plain: memoryview
    ) -> None:
        total = self.size()
        end = offset + len(data)
        if total == 0:
            self._put(memoryview(self._new_header(keys, sparse=offset >= PAGE_BYTES)), 0, in_one_piece=False)
        if offset > total:
            self._fill_gap(keys, total, offset, cipher, plain)
            total = self.size()
        self._write_run(keys, offset, end, total, data, cipher, plain)

    def _fill_gap(
        self, keys: TreeKeys, total: int, offset: int, cipher: memoryview, plain: memoryview
    ) -> None:
        """Zeros from the old end to the next page, then a hole up to the page of ``offset``.

        That last page is written whole up to ``offset`` by the write itself, whose head is merged with zeros.
        """
        page_end, page = _up(total, PAGE_BYTES), _down(offset, PAGE_BYTES)
        first = min(page_end, offset)
        if first > total:
            self._write_run(keys, total, first, total, memoryview(bytes(first - total)), cipher, plain)
        if page > page_end:
            self._mark_sparse(keys, behind_the_end=True)
            self._set_length(self._layout.cipher_size(page))
        if offset > max(page, page_end):
            start = max(page, page_end)
            self._write_run(keys, start, offset, start, memoryview(bytes(offset - start)), cipher, plain)

    def _write_run(
        self,
        keys: TreeKeys,
        offset: int,
        end: int,
        total: int,
        data: memoryview,
        cipher: memoryview,
        plain: memoryview,
    ) -> None:
        """Write ``data`` at ``offset`` ≤ ``total``; edges that cut a 16-byte block (a page, if sparse) are merged."""
        header, key = self._unlocked(keys)
        step = PAGE_BYTES if header.sparse else AES_BLOCK_BYTES
        new_total = max(total, end)
        low, high = _down(offset, step), min(_up(end, step), new_total)
        padded = _up(high, AES_BLOCK_BYTES)
        base = low % self._layout.block_size
        with (
            self._old(keys, low, offset, total, cipher, plain) as head,
            self._old(keys, end, high, total, cipher, plain) as tail,
        ):
            run = plain[base : base + padded - low]
            run[: offset - low] = head
            run[offset - low : end - low] = data
            run[end - low : high - low] = tail
            run[high - low :] = bytes(padded - high)
        # Tweak rule: the number of the data unit, under a key of this file alone; rewriting a unit uses it again, as XTS allows.
        self._code(key, low, padded, plain, cipher, encrypt=True)
        stop = base + padded - low
        filler = new_total % AES_BLOCK_BYTES if high == new_total else 0
        cipher[stop : stop + filler] = bytes(filler)
        stop += filler
        # The old length may end in filler that the new one does not have.
        length = self._layout.cipher_size(new_total)
        cut = length if self._cipher_size > length else None
        # Blocks never straddle pages of the file, so a torn write is a short one; but a page that was a hole must change
        # as a whole, and a last block and its filler belong together.
        one_piece = header.sparse or filler > 0
        self._put(cipher[base:stop], HEADER_BYTES + low, cut, in_one_piece=one_piece)

    @contextmanager
    def _old(
        self, keys: TreeKeys, start: int, stop: int, total: int, cipher: memoryview, plain: memoryview
    ) -> Iterator[memoryview]:
        """Plaintext ``start`` … ``stop`` as it is now, zeros beyond the end; wiped after the body."""
        old = memoryview(bytearray(max(stop - start, 0)))
        known = min(stop, total)
        try:
            if known > start:
                old[: known - start] = self._read(keys, start, known, total, cipher, plain)
            yield old
        finally:
            wipe(old)

    def _cut(self, keys: TreeKeys, size: int, total: int, cipher: memoryview, plain: memoryview) -> None:
        header, key = self._unlocked(keys)
        # What is left of a page is never a hole: a hole is known by a whole page of zeros.
        start = _down(size, PAGE_BYTES if header.sparse else AES_BLOCK_BYTES)
        length = self._layout.cipher_size(size)
        if start == size:
            self._set_length(length)
            return
        base, padded = start % self._layout.block_size, _up(size, AES_BLOCK_BYTES) - start
        with self._old(keys, start, size, total, cipher, plain) as data:
            plain[base : base + len(data)] = data
        plain[base + size - start : base + padded] = bytes(start + padded - size)
        self._code(key, start, start + padded, plain, cipher, encrypt=True)
        stop = base + padded + size % AES_BLOCK_BYTES
        cipher[base + padded : stop] = bytes(stop - base - padded)
        self._put(cipher[base:stop], HEADER_BYTES + start, length)

    def _set_length(self, length: int) -> None:
        """Cut or extend where nothing has to be written; in one step."""
        self.settle()
        os.ftruncate(self.fd, length)
        self._cipher_size = length

    def _code(
        self, key: memoryview, low: int, high: int, source: memoryview, target: memoryview, *, encrypt: bool
    ) -> None:
        """Encrypt or decrypt file offsets ``low`` … ``high``; both buffers begin at the first unit's beginning."""
        unit_size = self._layout.block_size
        origin = _down(low, unit_size)
        for unit in range(low // unit_size, -(-high // unit_size)):
            start = unit * unit_size - origin
            stop = min(start + unit_size, high - origin)
            older = self._older
            unit_key = key if older is None or unit < older.first else older.key
            cipher = Cipher(AES(unit_key), XTS(unit.to_bytes(16, "little")))
            context = cipher.encryptor() if encrypt else cipher.decryptor()
            context.update_into(source[start:stop], target[start : stop + AES_BLOCK_BYTES - 1])
