"""HKDF-SHA256 (RFC 5869) and HMAC-SHA256 (RFC 2104) between `Secret` buffers.

HKDF is put together from OpenSSL's HMAC here: that of `cryptography` frees its intermediate values (the
extracted key, each output block) unwiped, also in `derive_into`.
"""

from __future__ import annotations

import hmac

from .labels import HEADER_MAC, KEY_BYTES
from .memory import wipe, wipe_bytes
from .secret import Secret

_HASH_BYTES = 32


def hkdf(ikm: Secret, salt: bytes, info: bytes, length: int) -> Secret:
    """Return HKDF(ikm, salt, info, length), RFC 5869 2.2 and 2.3."""
    if not 1 <= length <= 255 * _HASH_BYTES:
        raise ValueError("HKDF-SHA256 gives 1 to 8160 bytes")
    output = Secret(length)
    extracted = hmac.digest(salt, ikm.view, "sha256")
    block = b""
    for number in range(1, -(-length // _HASH_BYTES) + 1):
        message = bytearray(block)
        message += info
        message.append(number)
        wipe_bytes(block)
        block = hmac.digest(extracted, message, "sha256")
        wipe(message)
        start = (number - 1) * _HASH_BYTES
        output.view[start : start + _HASH_BYTES] = memoryview(block)[: length - start]
    wipe_bytes(block)
    wipe_bytes(extracted)
    return output


def derive(vmk: Secret, vault_id: bytes, label: bytes, length: int | None = None) -> Secret:
    """Derive a key from the volume master key (docs/format.md 1.4).

    Args:
        vmk: volume master key of one epoch, 32 bytes.
        vault_id: the vault's id, 16 bytes.
        label: one of `keyslots.labels`.
        length: bytes; the label's own length if omitted.
    """
    return hkdf(vmk, vault_id, label, KEY_BYTES[label] if length is None else length)


def header_key(vmk: Secret, vault_id: bytes) -> Secret:
    """Return the key of the header's MAC for the epoch of `vmk`."""
    return derive(vmk, vault_id, HEADER_MAC)


def hmac_sha256(key: Secret, data: bytes) -> bytes:
    """Return HMAC-SHA256(key, data), 32 bytes."""
    return hmac.digest(key.view, data, "sha256")
