"""Slots that a printed recovery code opens: its 160 random bits and X25519 (docs/format.md 1.3)."""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import NotMine
from ..schema import exact_hex, members
from ..secret import Secret
from . import x25519

SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class RecoveryKem:
    """Public part of a recovery slot.

    Attributes:
        salt: 16 bytes.
        public_key: X25519 key derived from the code.
        ephemeral: X25519 public key of this wrapping.
    """

    kind: ClassVar[str] = "recovery"

    salt: bytes
    public_key: bytes
    ephemeral: bytes

    def to_json(self) -> dict[str, Any]:
        """Return the member `kem` of the slot."""
        return {
            "ephemeral": self.ephemeral.hex(),
            "public_key": self.public_key.hex(),
            "salt": self.salt.hex(),
        }


def parse(value: object) -> RecoveryKem:
    """Read the member `kem` of a recovery slot.

    Raises:
        SchemaError: a member or a bound is wrong.
    """
    fields = members(value, ("salt", "public_key", "ephemeral"), "kem")
    return RecoveryKem(
        salt=exact_hex(fields["salt"], SALT_BYTES, "salt"),
        public_key=exact_hex(fields["public_key"], 32, "public_key"),
        ephemeral=exact_hex(fields["ephemeral"], 32, "ephemeral"),
    )


def new_key(code: Secret) -> RecoveryKem:
    """Derive the public key of a new recovery slot, with a fresh salt, not wrapped for yet."""
    salt = os.urandom(SALT_BYTES)
    with x25519.private_key(code, salt) as private:
        return RecoveryKem(salt, x25519.public_key(private), b"")


def encapsulate(kem: RecoveryKem) -> tuple[RecoveryKem, Secret]:
    """Make a fresh slot secret for the slot of `kem`; the code is not needed."""
    ephemeral, secret = x25519.encapsulate(kem.public_key)
    return RecoveryKem(kem.salt, kem.public_key, ephemeral), secret


def unwrap(kem: RecoveryKem, code: Secret) -> Secret:
    """Return the slot secret.

    Raises:
        NotMine: the code is another one (or salt or public key were changed, which looks the same).
        HeaderTampered: the ephemeral key is of small order.
    """
    with x25519.private_key(code, kem.salt) as private:
        if not hmac.compare_digest(x25519.public_key(private), kem.public_key):
            raise NotMine("the recovery code does not fit this slot")
        return x25519.decapsulate(private, kem.ephemeral)
