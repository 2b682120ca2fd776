"""Changes of a header's slots. Pure but for randomness: each gives a new header, which the caller saves.

Nothing here needs the owner of a slot: every kind is a key encapsulation (docs/format.md 1.3), so a slot can be wrapped
anew while its phone is away and nobody types its passphrase.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from .build import SlotRequest, new_slot
from .errors import BadParameter, LastSlot, NoSuchSlot
from .header import MAX_SLOTS, Header, Kem, Slot, flags_of
from .secret import Secret
from .slots import passphrase, phone, phone_passphrase, phones, recovery
from .slots.passphrase import PassphraseKem
from .slots.phone import PhoneKem
from .slots.phone_passphrase import PhonePassphraseKem
from .slots.phones import PhonesKem
from .wrap import wrap_slot


def slot_of(header: Header, slot_id: int) -> Slot:
    """Return the slot with that id.

    Raises:
        NoSuchSlot: there is none.
    """
    for slot in header.slots:
        if slot.id == slot_id:
            return slot
    raise NoSuchSlot(f"the vault has no slot {slot_id}")


def add_slot(header: Header, vmks: Mapping[int, Secret], request: SlotRequest) -> tuple[Header, Slot]:
    """Add a slot under the lowest free id.

    Args:
        header: verified.
        vmks: volume master keys of all live epochs.
        request: the new slot.

    Returns:
        The header with it, and the slot.

    Raises:
        BadParameter: the header is full, or the request breaks a bound.
        BadPassphrase, KdfMemory: as for `keyslots.build.new_slot`.
    """
    taken = {slot.id for slot in header.slots}
    free = next((number for number in range(MAX_SLOTS) if number not in taken), None)
    if free is None:
        raise BadParameter(f"the vault has all {MAX_SLOTS} slots already")
    slot = new_slot(header.vault_id, free, request, vmks)
    return with_slots(header, (*header.slots, slot)), slot


def remove_slot(header: Header, slot_id: int) -> Header:
    """Take a slot away.

    Raises:
        NoSuchSlot: there is none with that id.
        LastSlot: it is the only one.
    """
    gone = slot_of(header, slot_id)
    if len(header.slots) == 1:
        raise LastSlot("it is the only slot: without it nobody could open the vault again")
    return with_slots(header, tuple(slot for slot in header.slots if slot is not gone))


def replace_slot(
    header: Header, vmks: Mapping[int, Secret], slot_id: int, request: SlotRequest
) -> tuple[Header, Slot]:
    """Put a new slot in the place of another, under the same id.

    Raises:
        NoSuchSlot: there is none with that id.
        BadParameter, BadPassphrase, KdfMemory: as for `keyslots.build.new_slot`.
    """
    old = slot_of(header, slot_id)
    slot = new_slot(header.vault_id, slot_id, request, vmks)
    return with_slots(header, tuple(slot if other is old else other for other in header.slots)), slot


def rewrap_slot(header: Header, vmks: Mapping[int, Secret], slot_id: int) -> tuple[Header, Slot]:
    """Give a slot a fresh slot secret, for the same phone, passphrase or code; and the keys of all epochs in `vmks`.

    Raises:
        NoSuchSlot: there is none with that id.
        HeaderTampered: a public key in the slot is of small order.
    """
    old = slot_of(header, slot_id)
    kem, secret = _encapsulate_again(header.vault_id, old.id, old.kem)
    with secret:
        slot = wrap_slot(header.vault_id, old.id, old.label, old.created, kem, secret, vmks)
    return with_slots(header, tuple(slot if other is old else other for other in header.slots)), slot


def _encapsulate_again(vault_id: bytes, slot_id: int, kem: Kem) -> tuple[Kem, Secret]:
    if isinstance(kem, PhoneKem):
        return phone.encapsulate(kem.public_key)
    if isinstance(kem, PhonesKem):
        public_keys = [part.public_key for part in kem.phones]
        return phones.encapsulate(vault_id, slot_id, public_keys, kem.threshold)
    if isinstance(kem, PassphraseKem):
        return passphrase.encapsulate(kem)
    if isinstance(kem, PhonePassphraseKem):
        return phone_passphrase.encapsulate(kem.phone.public_key, kem.passphrase)
    return recovery.encapsulate(kem)


def with_slots(header: Header, slots: tuple[Slot, ...]) -> Header:
    """Return the header with these slots in the place of its own, and the feature flags that they need."""
    ordered = tuple(sorted(slots, key=lambda slot: slot.id))
    return dataclasses.replace(header, slots=ordered, flags=flags_of(ordered, header.flags))
