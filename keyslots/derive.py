"""HKDF-SHA256 (RFC 5869) and HMAC-SHA256 (RFC 2104) between `Secret` buffers, without a copy in between."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .labels import HEADER_MAC, KEY_BYTES
from .secret import Secret


def hkdf(ikm: Secret, salt: bytes, info: bytes, length: int) -> Secret:
    """Return HKDF(ikm, salt, info, length), RFC 5869 2.2 and 2.3."""
    output = Secret(length)
    HKDF(SHA256(), length, salt, info).derive_into(ikm.view, output.view)
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
    mac = HMAC(key.view, SHA256())
    mac.update(data)
    return mac.finalize()
