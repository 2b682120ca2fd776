"""Slots that any n of m phones open (docs/format.md 1.3): fewer than n learn nothing of the slot secret.

No secret sharing of its own: each phone decrypts a random share, and the slot secret is wrapped once for every n of them,
under the key that their n shares give together. There are at most 70 such subsets.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .. import canonical
from ..derive import hkdf
from ..errors import BadParameter, HeaderTampered
from ..labels import phones_info
from ..memory import scrub_stack
from ..schema import SchemaError, array, exact_hex, integer, members
from ..secret import Secret
from . import phone as phone_slots
from .phone import SECRET_BYTES, PhoneKem

MIN_THRESHOLD = 2
MAX_PHONES = 8
NONCE_BYTES = 12
WRAPPED_BYTES = SECRET_BYTES + 16

Subset = tuple[int, ...]
"""Places in `PhonesKem.phones`, ascending."""


@dataclass(frozen=True, slots=True)
class WrappedSecret:
    """The slot secret, wrapped for one subset (nonce 12, ciphertext ‖ tag 48 bytes)."""

    nonce: bytes
    wrapped: bytes

    def to_json(self) -> dict[str, Any]:
        """Return the member of `subsets`."""
        return {"nonce": self.nonce.hex(), "wrapped": self.wrapped.hex()}


@dataclass(frozen=True, slots=True)
class PhonesKem:
    """Public part of a slot that any `threshold` of several phones open.

    Attributes:
        threshold: how many are needed.
        phones: each encapsulates a share for a phone; ascending fingerprints.
        subsets: the slot secret for each subset of `threshold` phones, in the order of `subsets_of`.
    """

    kind: ClassVar[str] = "phones"

    threshold: int
    phones: tuple[PhoneKem, ...]
    subsets: tuple[WrappedSecret, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the member `kem` of the slot."""
        return {
            "phones": [phone.to_json() for phone in self.phones],
            "subsets": [wrapped.to_json() for wrapped in self.subsets],
            "threshold": self.threshold,
        }


def subsets_of(count: int, threshold: int) -> list[Subset]:
    """Return every subset of `threshold` of `count` places, in lexicographic order."""
    return list(itertools.combinations(range(count), threshold))


def parse(value: object) -> PhonesKem:
    """Read the member `kem` of a slot of this kind.

    Raises:
        SchemaError: a member or a bound is wrong, a phone is there twice or in another order.
    """
    fields = members(value, ("threshold", "phones", "subsets"), "kem")
    phones = tuple(
        phone_slots.parse(phone) for phone in array(fields["phones"], MIN_THRESHOLD, MAX_PHONES, "phones")
    )
    if any(after.fingerprint <= before.fingerprint for before, after in itertools.pairwise(phones)):
        raise SchemaError("phones are not in ascending order of their fingerprints")
    threshold = integer(fields["threshold"], MIN_THRESHOLD, len(phones), "threshold")
    count = math.comb(len(phones), threshold)
    subsets = tuple(_parse_wrapped(one) for one in array(fields["subsets"], count, count, "subsets"))
    return PhonesKem(threshold, phones, subsets)


def _parse_wrapped(value: object) -> WrappedSecret:
    fields = members(value, ("nonce", "wrapped"), "a subset")
    return WrappedSecret(
        exact_hex(fields["nonce"], NONCE_BYTES, "nonce"),
        exact_hex(fields["wrapped"], WRAPPED_BYTES, "wrapped"),
    )


def encapsulate(
    vault_id: bytes, slot_id: int, public_keys: Sequence[bytes], threshold: int
) -> tuple[PhonesKem, Secret]:
    """Make a fresh slot secret and fresh shares for phones that need not be there.

    Args:
        vault_id: 16 bytes.
        slot_id: 0 … 31.
        public_keys: DER SubjectPublicKeyInfo of 2 to 8 different RSA keys, in any order.
        threshold: how many of the phones are to be needed, from 2 on.

    Raises:
        BadParameter: a number is out of bounds, a key is no RSA key within the bounds, or is there twice.
    """
    check(public_keys, threshold)
    shares: dict[int, Secret] = {}
    secret = Secret.random(SECRET_BYTES)
    try:
        found = sorted(
            (phone_slots.encapsulate(key) for key in public_keys), key=lambda pair: pair[0].fingerprint
        )
        shares |= {place: share for place, (_, share) in enumerate(found)}
        phones = tuple(phone for phone, _ in found)
        wrapped = tuple(
            _wrap(vault_id, slot_id, phones, subset, shares, secret)
            for subset in subsets_of(len(phones), threshold)
        )
    except BaseException:
        secret.wipe()
        raise
    finally:
        for share in shares.values():
            share.wipe()
    return PhonesKem(threshold, phones, wrapped), secret


def check(public_keys: Sequence[bytes], threshold: int) -> None:
    """Check the numbers of docs/format.md 1.3.

    Raises:
        BadParameter: too few or too many phones, one twice, or a threshold that does not fit them.
    """
    if not MIN_THRESHOLD <= len(public_keys) <= MAX_PHONES:
        raise BadParameter(f"a slot for several phones has {MIN_THRESHOLD} to {MAX_PHONES} of them")
    if not MIN_THRESHOLD <= threshold <= len(public_keys):
        raise BadParameter(
            f"of {len(public_keys)} phones {MIN_THRESHOLD} to {len(public_keys)} can be needed"
        )
    if len(set(public_keys)) != len(public_keys):
        raise BadParameter("a phone is there twice")


def unwrap(vault_id: bytes, slot_id: int, kem: PhonesKem, shares: Mapping[int, Secret]) -> Secret:
    """Return the slot secret. The shares stay the caller's.

    Every subset that the shares cover is opened, so that with the shares of all phones the whole slot is proved.

    Args:
        vault_id: 16 bytes.
        slot_id: the slot's.
        kem: its public part.
        shares: what phones decrypted, by place in `kem.phones`; at least `kem.threshold`.

    Raises:
        HeaderTampered: a subset does not open under the right shares, or two give different secrets.
    """
    secret: Secret | None = None
    try:
        for subset, wrapped in zip(subsets_of(len(kem.phones), kem.threshold), kem.subsets, strict=True):
            if shares.keys() >= set(subset):
                secret = _same(secret, _open(vault_id, slot_id, kem.phones, subset, shares, wrapped))
    except InvalidTag:
        if secret is not None:
            secret.wipe()
        raise HeaderTampered(
            f"the vault's header was tampered with: phones together do not open slot {slot_id}"
        ) from None
    finally:
        scrub_stack()
    if secret is None:
        raise ValueError("fewer shares than the slot needs")
    return secret


def _same(before: Secret | None, now: Secret) -> Secret:
    if before is None:
        return now
    with now:
        if before != now:
            before.wipe()
            raise HeaderTampered("the vault's header was tampered with: phones open a slot in two ways")
    return before


def _wrap(
    vault_id: bytes,
    slot_id: int,
    phones: tuple[PhoneKem, ...],
    subset: Subset,
    shares: Mapping[int, Secret],
    secret: Secret,
) -> WrappedSecret:
    # Random 96 bits under a key of fresh shares that wraps this alone (SP 800-38D 8.2.2).
    nonce, wrapped = os.urandom(NONCE_BYTES), bytearray(WRAPPED_BYTES)
    with _key(vault_id, slot_id, subset, shares) as key:
        cipher = AESGCM(key.view)
        cipher.encrypt_into(nonce, secret.view, _bound(vault_id, slot_id, phones, subset), wrapped)
        del cipher
    scrub_stack()
    return WrappedSecret(nonce, bytes(wrapped))


def _open(
    vault_id: bytes,
    slot_id: int,
    phones: tuple[PhoneKem, ...],
    subset: Subset,
    shares: Mapping[int, Secret],
    wrapped: WrappedSecret,
) -> Secret:
    secret = Secret(SECRET_BYTES)
    try:
        with _key(vault_id, slot_id, subset, shares) as key:
            cipher = AESGCM(key.view)
            bound = _bound(vault_id, slot_id, phones, subset)
            cipher.decrypt_into(wrapped.nonce, wrapped.wrapped, bound, secret.view)
            del cipher
    except BaseException:
        secret.wipe()
        raise
    return secret


def _key(vault_id: bytes, slot_id: int, subset: Subset, shares: Mapping[int, Secret]) -> Secret:
    with Secret(SECRET_BYTES * len(subset)) as ikm:
        for number, place in enumerate(subset):
            ikm.view[number * SECRET_BYTES : (number + 1) * SECRET_BYTES] = shares[place].view
        return hkdf(ikm, vault_id, phones_info(slot_id, subset), 32)


def _bound(vault_id: bytes, slot_id: int, phones: tuple[PhoneKem, ...], subset: Subset) -> bytes:
    """What a subset is bound to: vault, slot, all phones of the slot, and which of them are its own."""
    return canonical.encode(
        {
            "kind": PhonesKem.kind,
            "phones": [phone.fingerprint.hex() for phone in phones],
            "slot": slot_id,
            "subset": list(subset),
            "vault_id": vault_id.hex(),
        }
    )
