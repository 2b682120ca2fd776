"""Changing the slots of a vault that is open: pure edits of its header, proved and saved.

A new slot is proved before anything is written: the header as it would lie on the disk is read back, and the slot's own secret
must open it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from keyslots import store
from keyslots.derive import header_key
from keyslots.edit import slot_of
from keyslots.envelope import encode_file, parse_file
from keyslots.errors import LastSlot
from keyslots.header import Header, Slot
from keyslots.unlock import open_slot

if TYPE_CHECKING:
    from phonevault.vault import OpenedVault, SlotOpener

Edit = Callable[["OpenedVault"], tuple[Header, Slot]]
"""Gives the changed header and its new slot (`keyslots.edit`)."""


def change(opened: OpenedVault, edit: Edit, opener: SlotOpener | None) -> Slot:
    """Make a slot or make one anew, prove it, and save the header.

    Args:
        opened: the vault, opened through any slot.
        edit: what is changed.
        opener: of the new slot; None if whoever has its secret is not at hand. Such a slot cannot be proved.

    Raises:
        NotMine: the slot does not open by `opener`. Nothing was written.
        LinkError: the phone refused. Nothing was written.
        HeaderChanged, HeaderBusy, HeaderWriteFailed, BadParameter: as for `keyslots.store.save`.
    """
    header, slot = edit(opened)
    if opener is not None:
        prove(opened, header, slot.id, opener)
    save(opened, header)
    return slot


def remove(opened: OpenedVault, slot_id: int) -> Slot:
    """Take a slot away. Not the one that `opened` came through: so another one is known to open the vault.

    Raises:
        NoSuchSlot: there is none with that id.
        LastSlot: it is the only one, or the one that this vault was opened through.
    """
    from keyslots.edit import remove_slot

    gone = slot_of(opened.header, slot_id)
    header = remove_slot(opened.header, slot_id)
    if slot_id == opened.slot.id:
        raise LastSlot(
            f"slot {slot_id} opened the vault for this command: no other slot is known to work",
            hint="open it through a slot that stays: --phone, --passphrase-file or --recovery-file",
        )
    save(opened, header)
    return gone


def prove(opened: OpenedVault, header: Header, slot_id: int, opener: SlotOpener) -> None:
    """Open `header`, as it would be written, through one slot.

    Raises:
        NotMine: the opener does not fit the slot.
        HeaderTampered: the slot does not open: a bug, or broken memory.
        LinkError: the phone refused or is gone.
    """
    with header_key(opened.vmk, header.vault_id) as key:
        sealed = parse_file(encode_file(header, key))
    slot = slot_of(sealed.header, slot_id)
    with opener.unwrap(sealed.header, slot) as secret:
        open_slot(sealed, slot, secret).wipe()


def save(opened: OpenedVault, header: Header) -> Header:
    """Write a changed header of an open vault, whose keys are proved on its tree first.

    Raises:
        OtherVault: they do not open it.
        HeaderChanged, HeaderBusy, HeaderWriteFailed, BadParameter: as for `keyslots.store.save`.
    """
    from phonevault.vault import prove_before_change, written

    prove_before_change(opened)
    with header_key(opened.vmk, header.vault_id) as key:
        saved = store.save(opened.place, header, key)
    written(opened, saved)
    return saved
