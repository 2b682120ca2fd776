"""Many whole blocks of AES-256-GCM contents at a time, from and into a thread's scratch memory. No I/O.

Of a block of 4 KiB the cipher itself takes less than half of the time; cutting the buffers takes most of the rest. So the slices are made
once for each pair of buffers, and the interpreter's loop runs in C.
"""

from __future__ import annotations

import threading
from collections import deque

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from phonevault.fs.format.layout import NONCE_BYTES, Layout

SHORTEST = 4
"""Fewer blocks are not worth it."""


class BlockRun:
    """Slices of two buffers, one each for every block that fits.

    Args:
        cipher: ciphertext: of each block its nonce, then the encrypted block and its tag.
        plain: plaintext, the blocks one behind the other.
        layout: their sizes.
        begin: where the first block stands in the ciphertext buffer.

    Attributes:
        cipher: as given.
        plain: as given.
        block_size: plaintext bytes of a block.
    """

    def __init__(self, cipher: memoryview, plain: memoryview, layout: Layout, begin: int = 0) -> None:
        self.cipher, self.plain, self.block_size = cipher, plain, layout.block_size
        step = layout.cipher_block
        starts = range(begin, len(cipher) - step + 1, step)
        self._nonces = [cipher[start : start + NONCE_BYTES] for start in starts]
        self._sealed = [cipher[start + NONCE_BYTES : start + step] for start in starts]
        self._plain = _cut(plain, self.block_size)

    def open(self, aead: AESGCM, file_id: bytes, first: int, count: int) -> None:
        """Decrypt the first ``count`` blocks.

        Args:
            aead: the file's cipher.
            file_id: associated data, before the block's number.
            first: number of the first block.
            count: how many.

        Raises:
            cryptography.exceptions.InvalidTag: at least one is not authentic.
            ValueError: so many do not fit.
        """
        self._check_room(count)
        numbers = _numbered(file_id, first, count)
        _exhaust(map(aead.decrypt_into, self._nonces[:count], self._sealed[:count], numbers, self._plain))

    def seal(
        self, aead: AESGCM, file_id: bytes, first: int, count: int, data: memoryview, nonces: bytearray
    ) -> None:
        """Encrypt the ``count`` blocks at the beginning of ``data`` into the first ones of the ciphertext buffer.

        Args:
            aead: the file's cipher.
            file_id: associated data, before the block's number.
            first: number of the first block.
            count: how many.
            data: plaintext, at least that many blocks.
            nonces: for each block its own, never used before under this key.

        Raises:
            ValueError: so many do not fit, or are not given.
        """
        self._check_room(count)
        if len(data) < count * self.block_size or len(nonces) < count * NONCE_BYTES:
            raise ValueError("fewer blocks or nonces than are to be sealed")
        for block in range(count):
            self._nonces[block][:] = nonces[block * NONCE_BYTES : (block + 1) * NONCE_BYTES]
        blocks = _cut(data[: count * self.block_size], self.block_size)
        numbers = _numbered(file_id, first, count)
        _exhaust(map(aead.encrypt_into, self._nonces[:count], blocks, numbers, self._sealed[:count]))

    def _check_room(self, count: int) -> None:
        if count > min(len(self._nonces), len(self._plain)):
            raise ValueError("more blocks than the buffers hold")


class _Latest(threading.local):
    def __init__(self) -> None:
        self.runs: dict[int, BlockRun] = {}


_latest = _Latest()


def block_run(cipher: memoryview, plain: memoryview, layout: Layout, begin: int = 0) -> BlockRun:
    """The slices of these buffers: those of an earlier call, where a thread works on with the same.

    Args:
        cipher: as of :class:`BlockRun`.
        plain: as of :class:`BlockRun`.
        layout: as of :class:`BlockRun`.
        begin: where the first block stands in the ciphertext buffer.
    """
    run = _latest.runs.get(begin)
    if (
        run is None
        or run.cipher is not cipher
        or run.plain is not plain
        or run.block_size != layout.block_size
    ):
        run = _latest.runs[begin] = BlockRun(cipher, plain, layout, begin)
    return run


def _cut(buffer: memoryview, size: int) -> list[memoryview]:
    return [buffer[start : start + size] for start in range(0, len(buffer) - size + 1, size)]


def _numbered(file_id: bytes, first: int, count: int) -> list[bytes]:
    return [file_id + block.to_bytes(8, "little") for block in range(first, first + count)]


def _exhaust(results: map[int]) -> None:
    deque(results, maxlen=0)
