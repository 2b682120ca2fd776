"""A run of ciphertext from one file key to another (docs/format.md 4): same length, holes stay holes. No I/O."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

from phonevault.fs.errors import FileDamaged
from phonevault.fs.format.file_header import CIPHER_GCM
from phonevault.fs.format.layout import AES_BLOCK_BYTES, NONCE_BYTES, OVERHEAD_BYTES, PAGE_BYTES, Layout

_END_BIT = 1
_NO_NONCE = bytes(NONCE_BYTES)


@dataclass(frozen=True)
class FileKey:
    """What a file's blocks are sealed with.

    Attributes:
        file_id: 16 bytes.
        key: the file key.
    """

    file_id: bytes
    key: memoryview


@dataclass(frozen=True)
class Stretch:
    """Blocks of one file, from ``first`` on.

    Attributes:
        layout: of the vault.
        cipher: ``CIPHER_GCM`` or ``CIPHER_XTS``.
        sparse: the file may have holes.
        first: number of the first block.
        last_of_file: number of the file's last block.
    """

    layout: Layout
    cipher: int
    sparse: bool
    first: int
    last_of_file: int


def reseal(
    stretch: Stretch, old: FileKey, new: FileKey, stored: memoryview, out: memoryview
) -> list[tuple[int, int]]:
    """Decrypt with one key, encrypt with another.

    Args:
        stretch: which blocks they are.
        old: opens them.
        new: seals them.
        stored: their ciphertext.
        out: gets the new ciphertext; 15 bytes longer than ``stored``.

    Returns:
        The ranges of ``out`` that are not holes.

    Raises:
        FileDamaged: a block does not open.
    """
    pieces = _gcm if stretch.cipher == CIPHER_GCM else _xts
    runs: list[tuple[int, int]] = []
    for start, stop in pieces(stretch, old, new, stored, out):
        if runs and runs[-1][1] == start:
            runs[-1] = (runs[-1][0], stop)
        else:
            runs.append((start, stop))
    return runs


def _gcm(
    stretch: Stretch, old: FileKey, new: FileKey, stored: memoryview, out: memoryview
) -> Iterator[tuple[int, int]]:
    size = stretch.layout.cipher_block
    decrypt, encrypt = AESGCM(old.key).decrypt_into, AESGCM(new.key).encrypt_into
    plain = memoryview(bytearray(stretch.layout.block_size))
    nonces = memoryview(os.urandom(NONCE_BYTES * -(-len(stored) // size)))
    try:
        for number, start in enumerate(range(0, len(stored), size)):
            stop, block = min(start + size, len(stored)), stretch.first + number
            last = block == stretch.last_of_file
            nonce = stored[start : start + NONCE_BYTES]
            if stretch.sparse and not last and nonce == _NO_NONCE and not any(stored[start:stop]):
                continue
            if stop - start <= OVERHEAD_BYTES or (last and not nonce[0] & _END_BIT):
                raise FileDamaged(f"block {block} is cut short")
            room, place = plain[: stop - start - OVERHEAD_BYTES], block.to_bytes(8, "little")
            try:
                decrypt(nonce, stored[start + NONCE_BYTES : stop], old.file_id + place, room)
            except InvalidTag:
                raise FileDamaged(f"block {block} does not open") from None
            # Nonce rule: 95 random bits under the file's own new key; the lowest bit of the first byte is the end bit.
            fresh = bytearray(nonces[number * NONCE_BYTES : (number + 1) * NONCE_BYTES])
            fresh[0] = fresh[0] & ~_END_BIT | last
            out[start : start + NONCE_BYTES] = fresh
            encrypt(fresh, room, new.file_id + place, out[start + NONCE_BYTES : stop])
            yield start, stop
    finally:
        plain[:] = bytes(len(plain))


def _xts(
    stretch: Stretch, old: FileKey, new: FileKey, stored: memoryview, out: memoryview
) -> Iterator[tuple[int, int]]:
    size = stretch.layout.block_size
    filler = len(stored) % AES_BLOCK_BYTES
    coded = len(stored) - filler
    plain = memoryview(bytearray(size + AES_BLOCK_BYTES))
    try:
        for start in range(0, coded, size):
            stop = min(start + size, coded)
            # Tweak rule: the number of the data unit, each under its file's own key.
            tweak = (stretch.first + start // size).to_bytes(16, "little")
            decryptor = Cipher(AES(old.key), XTS(tweak)).decryptor()
            encryptor = Cipher(AES(new.key), XTS(tweak)).encryptor()
            _code(decryptor, stored[start:stop], plain)
            _code(encryptor, plain[: stop - start], out[start:])
            if stretch.sparse:
                yield from _pages_with_data(stored, start, stop)
            else:
                yield start, stop
        out[coded : coded + filler] = stored[coded:]
        if filler:
            yield coded, coded + filler
    finally:
        plain[:] = bytes(len(plain))


def _code(context: CipherContext, source: memoryview, target: memoryview) -> None:
    context.update_into(source, target[: len(source) + AES_BLOCK_BYTES - 1])


def _pages_with_data(stored: memoryview, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Of a sparse file: a page of zeros is a hole, and stays one."""
    for page in range(start, stop, PAGE_BYTES):
        end = min(page + PAGE_BYTES, stop)
        if end - page < PAGE_BYTES or any(stored[page : page + AES_BLOCK_BYTES]) or any(stored[page:end]):
            yield page, end
