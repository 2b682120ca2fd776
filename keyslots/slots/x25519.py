"""The key encapsulation of passphrase and recovery slots: X25519 (RFC 7748) with a derived key pair.

A derived pair, not a derived key: so a new volume key can be wrapped while nobody types the passphrase.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ..derive import hkdf
from ..errors import HeaderTampered
from ..labels import SLOT_X25519
from ..memory import scrub_stack, wipe_bytes
from ..secret import Secret


def private_key(ikm: Secret, salt: bytes) -> Secret:
    """Return the slot's X25519 private key, HKDF(ikm, salt, "phonevault v1 slot x25519", 32)."""
    return hkdf(ikm, salt, SLOT_X25519, 32)


def public_key(private: Secret) -> bytes:
    """Return X25519(private, 9), 32 bytes."""
    return X25519PrivateKey.from_private_bytes(private.view).public_key().public_bytes_raw()


def encapsulate(public: bytes) -> tuple[bytes, Secret]:
    """Make a fresh slot secret for a public key.

    Returns:
        The ephemeral public key (32 bytes) and the slot secret (32 bytes).

    Raises:
        HeaderTampered: `public` is a point of small order, which no secret gives.
    """
    with Secret.random(32) as ephemeral:
        try:
            shared = _exchange(ephemeral, public)
        except ValueError as error:
            raise HeaderTampered(
                "the vault's header was tampered with: a slot's public key is a point of small order"
            ) from error
        return public_key(ephemeral), shared


def decapsulate(private: Secret, ephemeral: bytes) -> Secret:
    """Return the slot secret X25519(private, ephemeral).

    Raises:
        HeaderTampered: the shared secret is all zeros (RFC 7748 6.1), which no honest ephemeral key gives.
    """
    try:
        return _exchange(private, ephemeral)
    except ValueError as error:
        raise HeaderTampered(
            "the vault's header was tampered with: a slot's ephemeral key is a point of small order"
        ) from error


def _exchange(private: Secret, public: bytes) -> Secret:
    key = X25519PrivateKey.from_private_bytes(private.view)
    shared = key.exchange(X25519PublicKey.from_public_bytes(public))  # refuses an all-zero result
    try:
        secret = Secret(32)
        secret.view[:] = shared
    finally:
        wipe_bytes(shared)
        del key
        scrub_stack()
    return secret
