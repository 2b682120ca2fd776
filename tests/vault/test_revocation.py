"""A lost phone's slots go together with the volume key they knew; what still opens is what the docs say."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
from support.headers import CHEAP, OAEP, PASSPHRASE, public_der, rsa_key
from support.software_phone import Phone

from keyslots import store
from keyslots.build import (
    PassphraseSlotRequest,
    PhonePassphraseSlotRequest,
    PhoneSlotRequest,
    PhonesSlotRequest,
)
from keyslots.edit import add_slot
from keyslots.envelope import parse_file
from keyslots.errors import HeaderChanged, HeaderTampered, LastSlot, WrongPhone
from keyslots.header import phone_parts
from keyslots.secret import Secret
from keyslots.slots import phone as phone_slots
from keyslots.slots import phones
from keyslots.slots.phones import PhonesKem
from keyslots.unlock import open_slot
from phonevault import revocation, rotation, slots, vault
from phonevault.vault import OpenedVault, PassphraseOpener, PhoneOpener, PhonePassphraseOpener

SECOND = b"the passphrase that goes with the phone"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    requests = [
        PhoneSlotRequest(public_der(rsa_key()), "my phone"),
        PassphraseSlotRequest(bytearray(PASSPHRASE), cost=CHEAP),
    ]
    vault.create(tmp_path / "vault", cipher="aes-256-gcm", slots=requests).wipe()
    return tmp_path / "vault"


def by_passphrase(path: Path) -> OpenedVault:
    return vault.open_vault(path, PassphraseOpener(bytearray(PASSPHRASE)))


def fingerprint(path: Path) -> str:
    (slot,) = revocation.slots_of(store.load(path).header, "")
    (part,) = phone_parts(slot.kem)
    return part.fingerprint.hex()


def by_phone(path: Path) -> OpenedVault:
    return vault.open_vault(path, PhoneOpener(Phone(0)))


def test_every_slot_of_the_phone_goes_with_the_volume_key_it_knew(path: Path) -> None:
    opened = by_passphrase(path)
    key = fingerprint(path)
    request = PhonePassphraseSlotRequest(public_der(rsa_key()), bytearray(SECOND), "both", CHEAP)
    slots.change(opened, lambda v: add_slot(v.header, v.vmks, request), None)
    old = (path / store.MAIN).read_bytes()
    opened = by_passphrase(path)
    now = revocation.take_out(opened, key[:16])
    assert [slot.kind for slot in now.header.slots] == ["passphrase"]
    epochs = now.header.epochs
    assert (epochs.current, epochs.files, epochs.live) == (2, 1, (1, 2))
    assert now.header.generation == opened.header.generation + 1  # one write: no state between
    assert rotation.is_under_way(now.header)
    for opener in (
        PhoneOpener(Phone(0)),
        PhonePassphraseOpener(PhoneOpener(Phone(0)), bytearray(SECOND)),
    ):
        with pytest.raises(WrongPhone):
            vault.open_vault(path, opener)
    again = by_passphrase(path)
    assert bytes(again.vmks[2].view) == bytes(now.vmks[2].view)
    # The old header opens as before, with the old volume key alone.
    with_old = vault.open_sealed(path, parse_file(old), PhoneOpener(Phone(0)))
    assert set(with_old.vmks) == {1}
    assert bytes(with_old.vmk.view) == bytes(again.vmks[1].view) != bytes(again.vmk.view)
    # Doing it again changes nothing: the caller goes on with the rotation.
    assert revocation.take_out(again, key) is again
    assert store.load(path).header == again.header


def test_a_rotation_that_began_with_the_phone_is_not_new_enough(path: Path) -> None:
    key = fingerprint(path)
    opened = by_passphrase(path)
    rotation.begin(opened)
    known = by_phone(path)
    assert set(known.vmks) == {1, 2}
    now = revocation.take_out(by_passphrase(path), key)
    assert (now.header.epochs.current, now.header.epochs.files) == (3, 1)
    assert bytes(now.vmk.view) not in {bytes(vmk.view) for vmk in known.vmks.values()}


def test_it_is_refused_where_nobody_else_is_known_to_get_in(path: Path) -> None:
    key, before = fingerprint(path), (path / store.MAIN).read_bytes()
    with pytest.raises(LastSlot, match="no other slot is known"):
        revocation.take_out(by_phone(path), key)
    assert (path / store.MAIN).read_bytes() == before
    opened = by_phone(path)
    slots.remove(opened, 1)
    with pytest.raises(LastSlot, match="no other way"):
        revocation.without(store.load(path).header, key)
    with pytest.raises(LastSlot, match="no other way"):
        revocation.take_out(by_phone(path), key)


def test_a_header_that_changed_meanwhile_is_not_written_over(path: Path) -> None:
    key, opened = fingerprint(path), by_passphrase(path)
    slots.save(by_passphrase(path), opened.header)
    before = (path / store.MAIN).read_bytes()
    with pytest.raises(HeaderChanged):
        revocation.take_out(opened, key)
    assert (path / store.MAIN).read_bytes() == before


def test_old_headers_beside_it_are_found_and_nothing_else(path: Path, tmp_path: Path) -> None:
    key = fingerprint(path)
    old = (path / store.MAIN).read_bytes()
    header = store.load(path).header
    assert {p.name for p in revocation.old_headers(store.Place(path), header.vault_id, key)} == {
        store.MAIN,
        store.BACKUP,
    }
    revocation.take_out(by_passphrase(path), key)
    assert revocation.old_headers(store.Place(path), header.vault_id, key) == []
    conflict = path / "phonevault (conflicted copy).json"
    conflict.write_bytes(old)
    (path / "torn").write_bytes(old[:-9])
    (path / "long").write_bytes(old + bytes(1 << 20))
    (path / "new").write_bytes((path / store.MAIN).read_bytes())
    (path / "link").symlink_to(conflict)
    (path / "closed").write_bytes(old)
    assert revocation.old_headers(store.Place(path), header.vault_id, key) == [path / "closed", conflict]
    other = dataclasses.replace(header, vault_id=bytes(16))
    assert revocation.old_headers(store.Place(path), other.vault_id, key) == []
    assert revocation.old_headers(store.Place(path), header.vault_id, "0" * 64) == []


def decrypted(kem: PhonesKem, *numbers: int) -> dict[int, Secret]:
    """The shares that some phones decrypt, by place."""
    owners = {public_der(rsa_key(number)): rsa_key(number) for number in numbers}
    return {
        place: phone_slots.slot_secret(bytearray(owners[part.public_key].decrypt(part.ciphertext, OAEP)))
        for place, part in enumerate(kem.phones)
        if part.public_key in owners
    }


def test_a_slot_of_several_phones_is_for_the_others_if_they_are_enough(path: Path) -> None:
    keys = tuple(public_der(rsa_key(number)) for number in (1, 2, 3))
    for threshold, some in ((2, keys), (2, keys[:2]), (3, keys)):
        request = PhonesSlotRequest(some, threshold, f"{threshold} of {len(some)}")
        slots.change(by_passphrase(path), lambda v, r=request: add_slot(v.header, v.vmks, r), None)  # type: ignore[misc]
    lost = hashlib.sha256(keys[1]).hexdigest()
    old = {slot.id: slot for slot in store.load(path).header.slots}
    assert len(revocation.slots_of(store.load(path).header, lost)) == 3
    now = revocation.take_out(by_passphrase(path), lost)
    sealed = store.load(path).sealed
    assert [slot.label for slot in sealed.header.slots] == ["my phone", "passphrase", "2 of 3"]
    assert sealed.header.flags == ("phones",)
    left = sealed.header.slots[2]
    assert isinstance(left.kem, PhonesKem)
    assert sorted(part.public_key for part in left.kem.phones) == sorted([keys[0], keys[2]])
    shares = decrypted(left.kem, 1, 3)
    with phones.unwrap(sealed.header.vault_id, left.id, left.kem, shares) as secret:
        opened = open_slot(sealed, left, secret)
    assert bytes(opened.vmk.view) == bytes(now.vmk.view)
    # What the lost phone and another one know of the old slot is of no use.
    before = old[left.id].kem
    assert isinstance(before, PhonesKem)
    with (
        phones.unwrap(sealed.header.vault_id, left.id, before, decrypted(before, 1, 2)) as secret,
        pytest.raises(HeaderTampered),
    ):
        open_slot(sealed, left, secret)
