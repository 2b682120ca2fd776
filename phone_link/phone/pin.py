"""PIN and PUK: what they look like, and how the master key is wrapped under them (no I/O, no counting)."""

from __future__ import annotations

import os
import secrets

from phone_link.phone import strict_json
from phone_link.phone.errors import PinUnusable
from phone_link.phone.store_format import Argon2Cost, WrappedKey
from phone_link.wipe import wipe

MIN_PIN = 4
MAX_PIN = 16
PUK_DIGITS = 16
MASTER_KEY_BYTES = 32


class WrongSecret(Exception):
    """The PIN or PUK does not open this wrapped key."""


def check_new_pin(pin: bytearray) -> None:
    """Refuse a PIN that is not 4 to 16 printable ASCII characters without spaces (`PinUnusable`)."""
    if not MIN_PIN <= len(pin) <= MAX_PIN:
        raise PinUnusable("the PIN has the wrong length")
    if any(not 0x21 <= byte <= 0x7E for byte in pin):
        raise PinUnusable("the PIN has a character that is not allowed")


def new_puk() -> bytearray:
    """Return 16 random decimal digits (53 bits)."""
    return bytearray(secrets.choice(b"0123456789") for _ in range(PUK_DIGITS))


def grouped_puk(puk: bytearray) -> str:
    """Return the PUK for people: four groups of four digits."""
    text = puk.decode("ascii")
    return " ".join(text[at : at + 4] for at in range(0, PUK_DIGITS, 4))


def normal_puk(typed: bytearray) -> bytearray:
    """Return a typed PUK without blanks and hyphens; `PinUnusable` if it is not 16 digits then."""
    digits = bytearray(byte for byte in typed if byte not in b" -\t")
    if len(digits) != PUK_DIGITS or not digits.isdigit():
        wipe(digits)
        raise PinUnusable("that is not a PUK", hint="a PUK has 16 digits")
    return digits


def wrap_master_key(
    master: bytearray, secret: bytearray, label: str, store_id: bytes, cost: Argon2Cost
) -> WrappedKey:
    """Seal the 32-byte master key under a PIN or PUK.

    The salt is fresh, so each AES key is used for one sealing; the random nonce cannot repeat under it.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt, nonce = os.urandom(16), os.urandom(12)
    key = _stretch(secret, salt, cost)
    try:
        sealed = AESGCM(key).encrypt(nonce, master, _associated_data(label, store_id))
    finally:
        wipe(key)
    return WrappedKey(cost, salt, nonce, sealed)


def unwrap_master_key(wrapped: WrappedKey, secret: bytearray, label: str, store_id: bytes) -> bytearray:
    """Return the master key (the caller wipes it); `WrongSecret` if the PIN or PUK does not fit."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key = _stretch(secret, wrapped.salt, wrapped.cost)
    master = bytearray(MASTER_KEY_BYTES)
    try:
        AESGCM(key).decrypt_into(wrapped.nonce, wrapped.sealed, _associated_data(label, store_id), master)
    except InvalidTag:
        raise WrongSecret from None
    finally:
        wipe(key)
    return master


def _stretch(secret: bytearray, salt: bytes, cost: Argon2Cost) -> bytearray:
    """Argon2id (RFC 9106, version 0x13) to 32 bytes."""
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    key = bytearray(32)
    kdf = Argon2id(
        salt=salt, length=32, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib
    )
    kdf.derive_into(secret, key)  # type: ignore[arg-type]  # the stub says bytes; any buffer is taken
    return key


def _associated_data(label: str, store_id: bytes) -> bytes:
    return strict_json.encode({"label": label, "store_id": store_id.hex()})
