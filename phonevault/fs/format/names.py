"""Encryption of names (docs/format.md 2). No I/O."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from binascii import a2b_base64
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from phonevault.fs.errors import NameDamaged

NAME_MAX = 255
DIRECTORY_ID_FILE = "phonevault.dirid"
LONG_PREFIX = "phonevault.long."
LONG_SUFFIX = ".name"
TEMPORARY_PREFIX = "phonevault.tmp."
_AD = b"name"
_TO_STANDARD = bytes.maketrans(b"-_+/=", b"+/!!!")
_PADDING = (b"", b"", b"==", b"=")
_LAST: tuple[frozenset[str] | None, ...] = (
    None,
    frozenset(),
    frozenset("AQgw"),
    frozenset("AEIMQUYcgkosw048"),
)
"""By length modulo 4: what the last character may be, so that no bits are left over."""


def b64encode(raw: bytes) -> str:
    """base64url without padding (RFC 4648 section 5)."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def b64decode(text: str) -> bytes:
    """Strict inverse of :func:`b64encode`.

    Raises:
        ValueError: not base64url, padded, or with stray bits at the end.
    """
    rest = len(text) & 3
    last = _LAST[rest]
    if not text or (last is not None and text[-1] not in last):
        raise ValueError("not canonical base64url")
    return a2b_base64(text.encode("ascii").translate(_TO_STANDARD) + _PADDING[rest], strict_mode=True)


def encrypt_name(siv: AESSIV, directory_id: bytes, name: bytes) -> str:
    """Encode a name for its directory. The result may be longer than 255 characters: see :func:`stored_name`.

    AES-SIV is deterministic and takes no nonce: equal names in one directory give equal results, which look-up needs.
    """
    return b64encode(siv.encrypt(name, [_AD, directory_id]))


def decrypt_name(siv: AESSIV, directory_id: bytes, encoded: str) -> bytes:
    """Inverse of :func:`encrypt_name`.

    Raises:
        NameDamaged: the name belongs to another directory, or was changed.
    """
    return name_opener(siv, directory_id)(encoded)


def name_opener(siv: AESSIV, directory_id: bytes) -> Callable[[str], bytes]:
    """:func:`decrypt_name` for many names of one directory."""
    decrypt, data = siv.decrypt, [_AD, directory_id]

    def opened(encoded: str) -> bytes:
        try:
            return decrypt(b64decode(encoded), data)
        except (InvalidTag, ValueError):
            raise NameDamaged("a name does not decrypt under its directory's id") from None

    return opened


def stored_name(encoded: str) -> str:
    """The entry's name in the ciphertext directory: the encoded name itself, or a hash of it if it is too long."""
    if len(encoded) <= NAME_MAX:
        return encoded
    return LONG_PREFIX + b64encode(hashlib.sha256(encoded.encode("ascii")).digest())


def is_long(stored: str) -> bool:
    """Whether an entry has its encoded name in a sidecar."""
    return stored.startswith(LONG_PREFIX) and not stored.endswith(LONG_SUFFIX)


def is_entry(stored: str) -> bool:
    """Whether a name found in a ciphertext directory stands for an entry (and is not one of the reserved names)."""
    return "." not in stored or is_long(stored)
