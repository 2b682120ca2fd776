"""Adding, removing, replacing and rewrapping slots; backing up and restoring a header."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from support.headers import CHEAP, OAEP, PASSPHRASE, edited, public_der, rsa_key
from support.software_phone import Phone

from keyslots import edit, store
from keyslots.build import PassphraseSlotRequest, PhonePassphraseSlotRequest, PhoneSlotRequest
from keyslots.derive import header_key
from keyslots.errors import (
    BadParameter,
    HeaderChanged,
    HeaderDamaged,
    HeaderTampered,
    LastSlot,
    NoSuchSlot,
    NotMine,
    OtherVault,
    WrongPassphrase,
    WrongPhone,
)
from keyslots.header import MAX_SLOTS, Header
from keyslots.secret import Secret
from keyslots.slots import passphrase
from keyslots.slots.phone_passphrase import PhonePassphraseKem
from phonevault import header_copies, rotation, slots, vault
from phonevault.vault import OpenedVault, PassphraseOpener, PhoneOpener, RecoveryOpener, RecoverySlotRequest

OTHER = b"another passphrase altogether"


@pytest.fixture
def created(tmp_path: Path) -> vault.CreatedVault:
    requests = [
        vault.PhoneSlotRequest(public_der(rsa_key()), "my phone"),
        vault.PassphraseSlotRequest(bytearray(PASSPHRASE), cost=CHEAP),
        RecoverySlotRequest(),
    ]
    return vault.create(tmp_path / "vault", cipher="aes-256-gcm", slots=requests)


@pytest.fixture
def opened(created: vault.CreatedVault) -> Iterator[OpenedVault]:
    found = vault.open_vault(created.path, PassphraseOpener(bytearray(PASSPHRASE)))
    yield found
    found.wipe()


def passphrase_request(text: bytes = OTHER) -> PassphraseSlotRequest:
    return PassphraseSlotRequest(bytearray(text), "second", CHEAP)


def adding(request: PassphraseSlotRequest | PhoneSlotRequest) -> slots.Edit:
    return lambda opened: edit.add_slot(opened.header, opened.vmks, request)


def test_an_added_slot_opens_the_same_keys(created: vault.CreatedVault, opened: OpenedVault) -> None:
    made = slots.change(opened, adding(passphrase_request()), PassphraseOpener(bytearray(OTHER)))
    again = vault.open_vault(created.path, PassphraseOpener(bytearray(OTHER)))
    assert (made.id, again.slot.id, again.vmk) == (3, 3, created.vmk)
    assert again.header.generation == created.header.generation + 1
    vault.test_slot(created.path, PassphraseOpener(bytearray(PASSPHRASE)))


def test_the_lowest_free_id_is_taken(created: vault.CreatedVault, opened: OpenedVault) -> None:
    slots.remove(opened, 0)
    again = vault.open_vault(created.path, PassphraseOpener(bytearray(PASSPHRASE)))
    made = slots.change(again, adding(PhoneSlotRequest(public_der(rsa_key(1)))), PhoneOpener(Phone(1)))
    assert made.id == 0
    assert [slot.id for slot in store.load(created.path).header.slots] == [0, 1, 2]
    with pytest.raises(WrongPhone):
        vault.open_vault(created.path, PhoneOpener(Phone(0)))


def test_a_slot_that_its_opener_does_not_open_is_not_written(
    created: vault.CreatedVault, opened: OpenedVault
) -> None:
    before = (created.path / store.MAIN).read_bytes()
    with pytest.raises(NotMine):
        slots.change(opened, adding(passphrase_request()), PassphraseOpener(bytearray(b"mistyped")))
    assert (created.path / store.MAIN).read_bytes() == before


def test_the_slot_that_opened_the_vault_and_the_last_one_cannot_be_removed(
    created: vault.CreatedVault, opened: OpenedVault
) -> None:
    with pytest.raises(LastSlot, match="no other slot is known"):
        slots.remove(opened, opened.slot.id)
    with pytest.raises(NoSuchSlot):
        slots.remove(opened, 7)
    only = dataclasses.replace(opened.header, slots=opened.header.slots[1:2])
    with pytest.raises(LastSlot, match="the only slot"):
        edit.remove_slot(only, 1)
    assert len(store.load(created.path).header.slots) == 3


def test_a_full_header_takes_no_more(opened: OpenedVault) -> None:
    header: Header = opened.header
    for _ in range(MAX_SLOTS - 3):
        header, _ = edit.add_slot(header, opened.vmks, PhoneSlotRequest(public_der(rsa_key())))
    with pytest.raises(BadParameter, match="32 slots"):
        edit.add_slot(header, opened.vmks, PhoneSlotRequest(public_der(rsa_key())))


def test_a_replaced_passphrase_opens_no_more(created: vault.CreatedVault, opened: OpenedVault) -> None:
    slots.change(
        opened,
        lambda found: edit.replace_slot(found.header, found.vmks, 1, passphrase_request()),
        PassphraseOpener(bytearray(OTHER)),
    )
    assert vault.test_slot(created.path, PassphraseOpener(bytearray(OTHER))).id == 1
    with pytest.raises(WrongPassphrase):
        vault.open_vault(created.path, PassphraseOpener(bytearray(PASSPHRASE)))


@pytest.mark.parametrize("slot_id", [0, 1, 2])
def test_a_rewrapped_slot_has_another_secret_and_the_same_owner(
    created: vault.CreatedVault, opened: OpenedVault, slot_id: int
) -> None:
    old = edit.slot_of(opened.header, slot_id)
    slots.change(opened, lambda found: edit.rewrap_slot(found.header, found.vmks, slot_id), None)
    new = edit.slot_of(store.load(created.path).header, slot_id)
    assert new.kem != old.kem and new.keys != old.keys
    assert (new.label, new.created, new.kind) == (old.label, old.created, old.kind)
    assert created.recovery_code is not None
    opener = (
        PhoneOpener(Phone(0)),
        PassphraseOpener(bytearray(PASSPHRASE)),
        RecoveryOpener(created.recovery_code),
    )[slot_id]
    assert vault.test_slot(created.path, opener).id == slot_id


def test_two_changes_from_one_header_do_not_both_win(
    created: vault.CreatedVault, opened: OpenedVault
) -> None:
    slots.remove(opened, 2)
    with pytest.raises(HeaderChanged):
        slots.remove(opened, 0)
    assert [slot.id for slot in store.load(created.path).header.slots] == [0, 1]


def both_opener(phone: int = 0, text: bytes = OTHER) -> vault.PhonePassphraseOpener:
    return vault.PhonePassphraseOpener(PhoneOpener(Phone(phone)), bytearray(text))


def add_both(opened: OpenedVault) -> None:
    request = PhonePassphraseSlotRequest(public_der(rsa_key()), bytearray(OTHER), cost=CHEAP)
    slots.change(opened, lambda found: edit.add_slot(found.header, found.vmks, request), both_opener())


def test_a_slot_for_both_needs_both(created: vault.CreatedVault, opened: OpenedVault) -> None:
    add_both(opened)
    assert vault.test_slot(created.path, both_opener()).id == 3
    phone = Phone(0)
    with pytest.raises(WrongPassphrase):
        vault.open_vault(
            created.path, vault.PhonePassphraseOpener(PhoneOpener(phone), bytearray(b"not that one"))
        )
    assert phone.asked == []  # a wrong passphrase bothers nobody
    with pytest.raises(WrongPassphrase):
        vault.open_vault(created.path, both_opener(phone=1))
    with pytest.raises(WrongPassphrase):
        vault.open_vault(created.path, PassphraseOpener(bytearray(OTHER)))


def test_the_secret_of_both_is_that_of_the_format(opened: OpenedVault) -> None:
    add_both(opened)
    slot = edit.slot_of(store.load(opened.path).header, 3)
    assert isinstance(slot.kem, PhonePassphraseKem)
    first = rsa_key().decrypt(slot.kem.phone.ciphertext, OAEP)
    with passphrase.unwrap(slot.kem.passphrase, bytearray(OTHER)) as second:
        expected = HKDF(SHA256(), 32, b"", b"phonevault v1 slot both").derive(first + bytes(second.view))
    with both_opener().unwrap(opened.header, slot) as secret:
        assert bytes(secret.view) == expected


def test_a_slot_for_both_is_wrapped_anew_without_either(
    created: vault.CreatedVault, opened: OpenedVault
) -> None:
    add_both(opened)
    again = vault.open_vault(created.path, PassphraseOpener(bytearray(PASSPHRASE)))
    slots.change(again, lambda found: edit.rewrap_slot(found.header, found.vmks, 3), None)
    assert vault.test_slot(created.path, both_opener()).id == 3


# -- copies -------------------------------------------------------------------------------------------------------


def restore(created: vault.CreatedVault, file: Path, text: bytes = PASSPHRASE) -> Header:
    found = header_copies.compare(created.path, file)
    opened = header_copies.open_backup(created.path, found.backup, PassphraseOpener(bytearray(text)))
    try:
        return header_copies.restore(opened, found.present)
    finally:
        opened.wipe()


def test_a_backup_is_the_header_and_restores_a_lost_one(created: vault.CreatedVault, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    header_copies.backup(created.path, file)
    assert file.read_bytes() == (created.path / store.MAIN).read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    for name in (store.MAIN, store.BACKUP):
        (created.path / name).write_bytes(b"rot")
    with pytest.raises(HeaderDamaged):
        vault.open_vault(created.path, PassphraseOpener(bytearray(PASSPHRASE)))
    assert restore(created, file).generation == created.header.generation + 1
    assert vault.test_slot(created.path, PhoneOpener(Phone(0))).id == 0
    with pytest.raises(FileExistsError):
        header_copies.backup(created.path, file)


def test_an_old_backup_is_told_and_brings_removed_slots_back(
    created: vault.CreatedVault, opened: OpenedVault, tmp_path: Path
) -> None:
    file = tmp_path / "backup"
    header_copies.backup(created.path, file)
    slots.remove(opened, 0)
    found = header_copies.compare(created.path, file)
    assert found.older and not found.other_keys
    assert restore(created, file).generation == created.header.generation + 2
    assert vault.test_slot(created.path, PhoneOpener(Phone(0))).id == 0


def test_a_sound_second_copy_beside_a_header_that_cannot_be_used_is_not_overwritten_unasked(
    created: vault.CreatedVault, opened: OpenedVault, tmp_path: Path
) -> None:
    file = tmp_path / "backup"
    header_copies.backup(created.path, file)
    slots.remove(opened, 0)
    main = created.path / store.MAIN
    main.write_bytes(edited(main.read_bytes(), lambda header: header.update(cipher="none")))
    with pytest.raises(HeaderTampered):
        store.load(created.path)
    found = header_copies.compare(created.path, file)
    assert found.present is None and found.older
    assert found.replaced == store.copies(created.path)[store.BACKUP]


def test_a_header_put_in_the_place_of_the_users_is_not_changed(
    created: vault.CreatedVault, tmp_path: Path
) -> None:
    """Made by who knows the public parts of the slots alone: it opens, but not this tree."""
    with Secret.random(32) as theirs:
        forged = created.header
        for slot in forged.slots:
            forged, _ = edit.rewrap_slot(forged, {1: theirs}, slot.id)
        with header_key(theirs, forged.vault_id) as key:
            store.save(created.path, forged, key)
    before = (created.path / store.MAIN).read_bytes()
    found = vault.open_vault(created.path, PassphraseOpener(bytearray(PASSPHRASE)))
    with pytest.raises(OtherVault):
        slots.remove(found, 0)
    with pytest.raises(OtherVault):
        slots.change(found, adding(passphrase_request()), PassphraseOpener(bytearray(OTHER)))
    with pytest.raises(OtherVault):
        rotation.rotate_master(found, lambda _: None)
    found.wipe()
    assert (created.path / store.MAIN).read_bytes() == before


def test_a_header_of_another_vault_is_refused(created: vault.CreatedVault, tmp_path: Path) -> None:
    other = vault.create(
        tmp_path / "other",
        cipher="aes-256-gcm",
        slots=[vault.PassphraseSlotRequest(bytearray(PASSPHRASE), cost=CHEAP)],
    )
    file = tmp_path / "backup"
    header_copies.backup(other.path, file)
    with pytest.raises(OtherVault):
        header_copies.compare(created.path, file)
    # Without a sound header to compare ids with, the tree itself tells.
    for name in (store.MAIN, store.BACKUP):
        (created.path / name).unlink()
    with pytest.raises(OtherVault):
        restore(created, file)
    assert not (created.path / store.MAIN).exists()


def test_a_forged_backup_is_tampering(created: vault.CreatedVault, tmp_path: Path) -> None:
    header = dataclasses.replace(created.header, slots=created.header.slots[1:])
    file = tmp_path / "backup"
    with header_key(created.vmk, bytes(16)) as wrong_key:
        from keyslots.envelope import encode_file

        file.write_bytes(encode_file(header, wrong_key))
    with pytest.raises(HeaderTampered):
        restore(created, file)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(HeaderDamaged):
        header_copies.compare(created.path, file)


def test_a_restore_does_not_overwrite_what_another_command_wrote(
    created: vault.CreatedVault, opened: OpenedVault, tmp_path: Path
) -> None:
    file = tmp_path / "backup"
    header_copies.backup(created.path, file)
    found = header_copies.compare(created.path, file)
    slots.remove(opened, 0)
    again = header_copies.open_backup(created.path, found.backup, PassphraseOpener(bytearray(PASSPHRASE)))
    with pytest.raises(HeaderChanged):
        header_copies.restore(again, found.present)
    again.wipe()
    assert [slot.id for slot in store.load(created.path).header.slots] == [1, 2]
