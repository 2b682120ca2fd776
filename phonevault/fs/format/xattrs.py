"""Extended attributes as they are stored: encrypted names, sealed values (docs/format.md 6). Pure."""

from __future__ import annotations

import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

from keyslots.memory import wipe
from phonevault.fs.errors import XattrDamaged
from phonevault.fs.format.layout import NONCE_BYTES, OVERHEAD_BYTES
from phonevault.fs.format.names import b64decode, b64encode

USER_PREFIX = "user.phonevault."
TRUSTED_PREFIX = "trusted.phonevault."
"""For objects that may have no user attributes: links, fifos, sockets, devices."""

CAPABILITY = b"security.capability"
ACL_ACCESS = b"system.posix_acl_access"
ACL_DEFAULT = b"system.posix_acl_default"

NAME_MAX = 255
VALUE_MAX_BYTES = 65_536
"""Linux's limits of a name and of a value (linux/limits.h)."""

_ENCODED_MAX = NAME_MAX - len(TRUSTED_PREFIX)
_LONG = "."
_AD = b"xattr"


class XattrSeals:
    """Seals of names and values.

    Args:
        siv: AES-256-SIV (RFC 5297) under the attribute names key.
        values: AES-256-GCM under the attribute values key.
    """

    def __init__(self, siv: AESSIV, values: AESGCM) -> None:
        self._siv = siv
        self._values = values
        self._often = {name: self._encode(name) for name in (CAPABILITY, ACL_ACCESS, ACL_DEFAULT)}

    def encode(self, name: bytes) -> str:
        """What follows the prefix in a stored name: the encrypted name, or a dot and its hash if it is too long.

        AES-SIV is deterministic and takes no nonce: equal names give equal results, which finding one needs.
        """
        return self._often.get(name) or self._encode(name)

    def _encode(self, name: bytes) -> str:
        text = b64encode(self._siv.encrypt(name, [_AD]))
        if len(text) <= _ENCODED_MAX:
            return text
        return _LONG + b64encode(hashlib.sha256(text.encode("ascii")).digest())

    def decode(self, encoded: str, raw: bytes) -> bytes:
        """The name; ``raw`` (the stored value) holds a long one.

        Raises:
            XattrDamaged: it does not decrypt.
        """
        if is_long(encoded):
            room = memoryview(bytearray(max(len(raw) - OVERHEAD_BYTES, 0)))
            try:
                return bytes(self._split(encoded, self._open(encoded, raw, room))[0])
            finally:
                wipe(room)
        try:
            return self._siv.decrypt(b64decode(encoded), [_AD])
        except (InvalidTag, ValueError):
            raise XattrDamaged("an extended attribute's name does not decrypt") from None

    def seal(self, name: bytes, value: bytes | memoryview) -> bytes:
        """The stored value. Nonce: random, at most 2^32 values a volume key."""
        encoded, nonce = self.encode(name), os.urandom(NONCE_BYTES)
        if not is_long(encoded):
            return nonce + self._values.encrypt(nonce, value, encoded.encode("ascii"))
        both = memoryview(bytearray(1 + len(name) + len(value)))
        both[0], both[1 : 1 + len(name)], both[1 + len(name) :] = len(name), name, value
        try:
            return nonce + self._values.encrypt(nonce, both, encoded.encode("ascii"))
        finally:
            wipe(both)

    def open(self, name: bytes, raw: bytes, room: memoryview) -> memoryview:
        """The value, as a slice of ``room``.

        Raises:
            XattrDamaged: it does not open under this name.
        """
        encoded = self.encode(name)
        opened = self._open(encoded, raw, room)
        return self._split(encoded, opened)[1] if is_long(encoded) else opened

    def _open(self, encoded: str, raw: bytes, room: memoryview) -> memoryview:
        opened = room[: len(raw) - OVERHEAD_BYTES] if len(raw) >= OVERHEAD_BYTES else room[:0]
        try:
            self._values.decrypt_into(
                raw[:NONCE_BYTES], memoryview(raw)[NONCE_BYTES:], encoded.encode("ascii"), opened
            )
        except (InvalidTag, ValueError):
            raise XattrDamaged("an extended attribute's value does not decrypt") from None
        return opened

    def _split(self, encoded: str, opened: memoryview) -> tuple[memoryview, memoryview]:
        """Long name and value. What opens was sealed by us, under a hash of this name."""
        end = 1 + (opened[0] if opened else 0)
        name, value = opened[1:end], opened[end:]
        if len(name) != end - 1 or self._encode(bytes(name)) != encoded:
            raise XattrDamaged("an extended attribute holds another name")
        return name, value


def is_long(encoded: str) -> bool:
    """Whether an encoded name is a hash, and the name itself lies in the value."""
    return encoded.startswith(_LONG)


def encoded_part(stored: str, prefix: str) -> str | None:
    """What follows the prefix in the name of an attribute of the ciphertext object; None if it is none of ours."""
    return stored.removeprefix(prefix) if stored.startswith(prefix) else None
