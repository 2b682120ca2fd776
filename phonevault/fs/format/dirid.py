"""Directory ids: 16 random bytes that a directory's names are bound to (docs/format.md 2). Pure."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from phonevault.fs.errors import DirectoryIdDamaged

FILE_NAME = "phonevault.dirid"
ID_BYTES = 16
SEALED_BYTES = 32

_ASSOCIATED_DATA = [b"directory id"]


def new_directory_id() -> bytes:
    """Return 16 random bytes."""
    return os.urandom(ID_BYTES)


def seal_directory_id(siv: AESSIV, directory_id: bytes) -> bytes:
    """Return the 32 bytes of the file `phonevault.dirid`.

    Args:
        siv: AES-256-SIV (RFC 5297) under the names key.
        directory_id: 16 bytes.

    Raises:
        ValueError: the id has another length.
    """
    if len(directory_id) != ID_BYTES:
        raise ValueError("a directory id has 16 bytes")
    return siv.encrypt(directory_id, _ASSOCIATED_DATA)


def open_directory_id(siv: AESSIV, blob: bytes) -> bytes:
    """Return the directory id (16 bytes) in the bytes of `phonevault.dirid`.

    Raises:
        DirectoryIdDamaged: the bytes were not sealed under this key (damage, tampering, another vault).
    """
    if len(blob) != SEALED_BYTES:
        raise DirectoryIdDamaged(f"a directory's id file has {len(blob)} bytes instead of {SEALED_BYTES}")
    try:
        return siv.decrypt(blob, _ASSOCIATED_DATA)
    except InvalidTag:
        raise DirectoryIdDamaged("a directory's id file is damaged or was changed") from None
