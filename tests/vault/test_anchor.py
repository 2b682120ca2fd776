"""A vault opened with a phone that remembers headers: old ones, other ones, whole vaults in its place, and what is written."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from support.headers import CHEAP, PASSPHRASE, public_der, rsa_key
from support.software_phone import Phone

from keyslots import edit, store
from keyslots.build import PhonePassphraseSlotRequest, RecoverySlotRequest, new_recovery_code
from keyslots.derive import header_key
from keyslots.envelope import encode_file
from keyslots.errors import HeaderTampered
from phone_link.errors import HeaderForked, HeaderRolledBack, VaultSubstituted
from phone_link.host.anchor import Seen
from phonevault import header_copies, rotation, slots, vault
from phonevault.openers import FIRST_SEEN, NOT_REMEMBERED, Mark, mark_of
from phonevault.vault import OpenedVault, PassphraseOpener, PhoneOpener, PhonePassphraseOpener


@pytest.fixture
def created(tmp_path: Path) -> vault.CreatedVault:
    requests = [
        vault.PhoneSlotRequest(public_der(rsa_key()), "my phone"),
        vault.PassphraseSlotRequest(bytearray(PASSPHRASE), cost=CHEAP),
    ]
    return vault.create(tmp_path / "vault", cipher="aes-256-gcm", slots=requests)


@pytest.fixture
def phone(created: vault.CreatedVault) -> Phone:
    """It has opened the vault once."""
    phone = Phone(0)
    opened = by_phone(created, phone)
    assert opened.warnings == (FIRST_SEEN,)
    opened.wipe()
    return phone


def by_phone(created: vault.CreatedVault, phone: Phone) -> OpenedVault:
    return vault.open_vault(created.path, PhoneOpener(phone))


def by_words(created: vault.CreatedVault) -> OpenedVault:
    return vault.open_vault(created.path, PassphraseOpener(bytearray(PASSPHRASE)))


def generation(phone: Phone, created: vault.CreatedVault) -> int:
    return phone.headers[created.vault_id][0]


def change(opened: OpenedVault) -> None:
    """Write a header that differs from the one before."""
    with new_recovery_code() as code:
        slots.save(opened, edit.add_slot(opened.header, opened.vmks, RecoverySlotRequest(code))[0])


def put_back(created: vault.CreatedVault, copy: Path) -> None:
    for name in (store.MAIN, store.BACKUP):
        shutil.copy(copy, created.path / name)


@pytest.fixture
def old(created: vault.CreatedVault, tmp_path: Path) -> Path:
    """A copy of the first header."""
    return Path(shutil.copy(created.path / store.MAIN, tmp_path / "old"))


def test_an_old_header_is_refused_before_the_phone_decrypts(
    created: vault.CreatedVault, phone: Phone, old: Path
) -> None:
    change(by_words(created))
    assert by_phone(created, phone).warnings == ()  # newer, written without the phone
    assert generation(phone, created) == 2
    put_back(created, old)
    phone.asked.clear()
    with pytest.raises(HeaderRolledBack):
        by_phone(created, phone)
    assert phone.asked == []
    by_words(created).wipe()  # a passphrase knows nothing of it


def test_a_phone_is_told_of_what_is_written_with_it(
    created: vault.CreatedVault, phone: Phone, old: Path
) -> None:
    told: list[Mark] = []
    opened = dataclasses.replace(by_phone(created, phone), on_write=told.append)
    change(opened)
    loaded = store.load(created.path).sealed
    assert told == [Mark(created.vault_id, 2, loaded.mac, phone.headers[created.vault_id][2])]
    PhoneOpener(phone).wrote(told[0])
    put_back(created, old)
    with pytest.raises(HeaderRolledBack):
        by_phone(created, phone)


def test_both_headers_of_a_rotation_are_told(created: vault.CreatedVault, phone: Phone) -> None:
    told: list[Mark] = []
    opened = dataclasses.replace(by_phone(created, phone), on_write=told.append)
    rotation.rotate_master(opened, lambda run: None)
    assert [mark.generation for mark in told] == [2, 3]
    assert told[-1].mac == store.load(created.path).sealed.mac
    assert {mark.tag for mark in told} == {phone.headers[created.vault_id][2]}


def test_two_headers_of_one_generation(created: vault.CreatedVault, phone: Phone, old: Path) -> None:
    change(by_words(created))
    by_phone(created, phone).wipe()
    put_back(created, old)
    change(by_words(created))  # as on another computer that had the old one
    with pytest.raises(HeaderForked):
        by_phone(created, phone)


def test_a_forged_higher_generation_is_tampering_and_remembered_by_nobody(
    created: vault.CreatedVault, phone: Phone
) -> None:
    sealed = store.load(created.path).sealed
    forged = dataclasses.replace(sealed.header, generation=10**9)
    with vault.open_vault(created.path, PassphraseOpener(bytearray(PASSPHRASE))).vmk as other:
        data = encode_file(forged, header_key(other, bytes(16)))
    for name in (store.MAIN, store.BACKUP):
        (created.path / name).write_bytes(data)
    with pytest.raises(HeaderTampered):
        by_phone(created, phone)
    assert generation(phone, created) == 1


def test_another_vault_under_the_same_id_is_refused(
    created: vault.CreatedVault, phone: Phone, tmp_path: Path
) -> None:
    """Anybody who has the header can make one with keys of his own for the same phone (threat-model.md 3)."""
    other = vault.create(
        tmp_path / "forged",
        cipher="aes-256-gcm",
        slots=[vault.PhoneSlotRequest(public_der(rsa_key()), "my phone")],
    )
    header = dataclasses.replace(other.header, vault_id=created.vault_id, generation=7)
    header, _ = edit.rewrap_slot(header, {1: other.vmk}, 0)
    with header_key(other.vmk, created.vault_id) as key:
        data = encode_file(header, key)
    for name in (store.MAIN, store.BACKUP):
        (created.path / name).write_bytes(data)
    with pytest.raises(VaultSubstituted):
        by_phone(created, phone)
    assert generation(phone, created) == 1
    by_new = Phone(0)  # one that never saw the vault says so
    assert by_phone(created, by_new).warnings == (FIRST_SEEN,)


def test_a_backup_is_shown_and_not_remembered_before_it_is_written(
    created: vault.CreatedVault, phone: Phone, old: Path
) -> None:
    change(by_words(created))
    by_phone(created, phone).wipe()
    found = header_copies.compare(created.path, old)
    with pytest.raises(HeaderRolledBack):
        header_copies.open_backup(created.path, found.backup, PhoneOpener(phone))
    newcomer = Phone(0)
    opener = PhoneOpener(newcomer)
    opened = header_copies.open_backup(created.path, found.backup, opener)
    assert newcomer.headers == {}
    opened = dataclasses.replace(opened, on_write=opener.wrote)
    assert header_copies.restore(opened, found.present).generation == 3
    assert generation(newcomer, created) == 3
    assert by_phone(created, phone).warnings == ()  # newer than all that the phone knows


def test_a_phone_with_a_passphrase_is_a_witness_too(created: vault.CreatedVault, old: Path) -> None:
    opened = by_words(created)
    request = PhonePassphraseSlotRequest(public_der(rsa_key(1)), bytearray(b"x" * 20), "both", CHEAP)
    slots.save(opened, edit.add_slot(opened.header, opened.vmks, request)[0])
    copy = shutil.copy(created.path / store.MAIN, old)
    phone = Phone(1)

    def open_it() -> OpenedVault:
        return vault.open_vault(created.path, PhonePassphraseOpener(PhoneOpener(phone), bytearray(b"x" * 20)))

    assert open_it().warnings == (FIRST_SEEN,)
    change(by_words(created))
    assert open_it().warnings == ()
    put_back(created, Path(copy))
    with pytest.raises(HeaderRolledBack):
        open_it()


def test_a_phone_that_remembers_nothing_is_said_to(created: vault.CreatedVault) -> None:
    class Old(Phone):
        def show_header(self, vault_id: bytes, generation: int, mac: bytes) -> Seen:
            return Seen.UNSUPPORTED

    class Full(Phone):
        def remember_header(self, vault_id: bytes, generation: int, mac: bytes, tag: bytes) -> bool:
            return False

    for phone in (Old(0), Full(0)):
        assert by_phone(created, phone).warnings == (NOT_REMEMBERED,)


def test_the_tag_is_of_the_vault_alone(created: vault.CreatedVault) -> None:
    opened = by_words(created)
    before = mark_of(opened.header, opened.vmks)
    later = mark_of(dataclasses.replace(opened.header, generation=9), opened.vmks)
    assert before.tag == later.tag
    assert before.mac != later.mac
    assert before.mac == store.load(created.path).sealed.mac
    assert before.tag.hex() not in repr(before)
