"""Slots that need both a phone and a passphrase (docs/format.md 1.3): neither alone opens anything.

The slot secret is derived from two halves, each encapsulated as in a slot of its own kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..derive import hkdf
from ..labels import SLOT_BOTH
from ..schema import members
from ..secret import Secret
from . import passphrase as passphrases
from . import phone as phones
from .passphrase import PassphraseKem
from .phone import PhoneKem


@dataclass(frozen=True, slots=True)
class PhonePassphraseKem:
    """Public part of a slot for a phone and a passphrase together.

    Attributes:
        phone: encapsulates the first half for the phone.
        passphrase: encapsulates the second half for the passphrase.
    """

    kind: ClassVar[str] = "phone+passphrase"

    phone: PhoneKem
    passphrase: PassphraseKem

    def to_json(self) -> dict[str, Any]:
        """Return the member `kem` of the slot."""
        return {"passphrase": self.passphrase.to_json(), "phone": self.phone.to_json()}


def parse(value: object) -> PhonePassphraseKem:
    """Read the member `kem` of a slot of this kind.

    Raises:
        SchemaError: a member or a bound is wrong.
    """
    fields = members(value, ("phone", "passphrase"), "kem")
    return PhonePassphraseKem(phones.parse(fields["phone"]), passphrases.parse(fields["passphrase"]))


def encapsulate(public_key: bytes, passphrase: PassphraseKem) -> tuple[PhonePassphraseKem, Secret]:
    """Make a fresh slot secret; neither the phone nor the passphrase is needed.

    Args:
        public_key: DER SubjectPublicKeyInfo of the phone's RSA key.
        passphrase: public part of the passphrase (`keyslots.slots.passphrase.new_key`).

    Raises:
        BadParameter: the phone's key is no RSA key within the bounds.
    """
    phone, first = phones.encapsulate(public_key)
    with first:
        kem, second = passphrases.encapsulate(passphrase)
        with second:
            return PhonePassphraseKem(phone, kem), combine(first, second)


def combine(first: Secret, second: Secret) -> Secret:
    """Return the slot secret of its halves, 32 bytes each: HKDF(first ‖ second, "", "phonevault v1 slot both", 32)."""
    with Secret(len(first) + len(second)) as ikm:
        ikm.view[: len(first)] = first.view
        ikm.view[len(first) :] = second.view
        return hkdf(ikm, b"", SLOT_BOTH, 32)
