"""The 128 bytes in front of a file's contents (docs/format.md 4). No I/O."""

from __future__ import annotations

import os
from struct import Struct
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from phonevault.fs.errors import FileDamaged
from phonevault.fs.format.layout import HEADER_BYTES, NONCE_BYTES, TAG_BYTES

CIPHER_GCM = 1
CIPHER_XTS = 2
KEY_BYTES = {CIPHER_GCM: 32, CIPHER_XTS: 64}
FLAG_SPARSE = 1
FLAG_HALFWAY = 2

_MAGIC = b"PVF1"
_CLEAR = Struct("<4sBBBBI16s")
"""magic, cipher, log2 of the block size, flags, 0, epoch, file id: the associated data of the wrapped key."""


class FileHeader(NamedTuple):
    """What is readable of a file's header without its key.

    Attributes:
        cipher: ``CIPHER_GCM`` or ``CIPHER_XTS``.
        block_size: plaintext bytes of a block or data unit.
        sparse: the contents may have holes.
        epoch: volume key that wraps the file key.
        file_id: 16 random bytes.
        halfway: the blocks behind a border are still under another key (docs/format.md 1.8).
    """

    cipher: int
    block_size: int
    sparse: bool
    epoch: int
    file_id: bytes
    halfway: bool = False

    def clear_part(self) -> bytes:
        """Bytes 0 … 27."""
        flags = (FLAG_SPARSE if self.sparse else 0) | (FLAG_HALFWAY if self.halfway else 0)
        return _CLEAR.pack(
            _MAGIC, self.cipher, self.block_size.bit_length() - 1, flags, 0, self.epoch, self.file_id
        )


def seal_header(header: FileHeader, wrapping: AESGCM, key: memoryview) -> bytes:
    """The 128 bytes for a file key. Nonce: random; one wrapping a file and flag change stays far below 2^32."""
    clear, nonce = header.clear_part(), os.urandom(NONCE_BYTES)
    sealed = bytearray(len(key) + TAG_BYTES)
    wrapping.encrypt_into(nonce, key, clear, sealed)
    return (clear + nonce + sealed).ljust(HEADER_BYTES, b"\0")


def parse_header(raw: bytes) -> FileHeader:
    """Read the clear part; strict.

    Raises:
        FileDamaged: wrong length, magic, cipher, flags or padding.
    """
    if len(raw) != HEADER_BYTES:
        raise FileDamaged("a file's header is cut short")
    magic, cipher, log2, flags, zero, epoch, file_id = _CLEAR.unpack_from(raw)
    key_bytes = KEY_BYTES.get(cipher)
    if (
        magic != _MAGIC
        or key_bytes is None
        or zero
        or flags & ~(FLAG_SPARSE | FLAG_HALFWAY)
        or not 12 <= log2 <= 20
    ):
        raise FileDamaged("a file's header is not one of this format")
    if any(raw[_CLEAR.size + NONCE_BYTES + key_bytes + TAG_BYTES :]):
        raise FileDamaged("a file's header has bytes where zeros belong")
    return FileHeader(
        cipher, 1 << log2, bool(flags & FLAG_SPARSE), epoch, file_id, bool(flags & FLAG_HALFWAY)
    )


def open_header(raw: bytes, header: FileHeader, wrapping: AESGCM, key: memoryview) -> None:
    """Unwrap the file key of a parsed header into ``key``.

    Raises:
        FileDamaged: the tag is wrong: damaged, changed, or of another vault.
    """
    nonce = raw[_CLEAR.size : _CLEAR.size + NONCE_BYTES]
    start = _CLEAR.size + NONCE_BYTES
    try:
        wrapping.decrypt_into(nonce, raw[start : start + len(key) + TAG_BYTES], raw[: _CLEAR.size], key)
    except InvalidTag:
        raise FileDamaged("a file's key does not unwrap") from None
