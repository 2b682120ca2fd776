"""Opening a slot of several phones through their sessions, and each way to be wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from support.headers import edited, public_der, rsa_key
from support.software_phone import Phone

from keyslots import store
from keyslots.errors import HeaderTampered, WrongPhone
from phone_link.errors import UserRefused
from phonevault import vault
from phonevault.vault import CreatedVault, PhoneOpener, PhonesOpener, PhonesSlotRequest, RecoverySlotRequest


def fingerprint(number: int) -> str:
    return hashlib.sha256(public_der(rsa_key(number))).hexdigest()


def opener(*numbers: int, phones: dict[int, Phone] | None = None) -> PhonesOpener:
    at_hand = phones or {number: Phone(number) for number in numbers}
    return PhonesOpener([PhoneOpener(at_hand[number], fingerprint(number), "open") for number in numbers])


@pytest.fixture
def created(tmp_path: Path) -> CreatedVault:
    keys = tuple(public_der(rsa_key(number)) for number in range(3))
    slots = [PhonesSlotRequest(keys, 2), RecoverySlotRequest()]
    return vault.create(tmp_path / "vault", cipher="aes-256-gcm", slots=slots)


@pytest.mark.parametrize("numbers", [(0, 1), (2, 0), (1, 2), (0, 1, 2), (0, 3, 1)])
def test_enough_phones_open_it_in_any_order(created: CreatedVault, numbers: tuple[int, ...]) -> None:
    opened = vault.open_vault(created.path, opener(*numbers))
    assert opened.vmk == created.vmk
    assert opened.slot.kind == "phones"
    opened.wipe()


@pytest.mark.parametrize("numbers", [(), (0,), (0, 3), (0, 0), (3, 4)])
def test_too_few_wrong_or_doubled_phones_are_a_wrong_key_and_nobody_is_asked(
    created: CreatedVault, numbers: tuple[int, ...]
) -> None:
    phones = {number: Phone(number) for number in set(numbers)}
    with pytest.raises(WrongPhone, match="together open no slot"):
        vault.open_vault(created.path, opener(*numbers, phones=phones))
    assert all(phone.asked == [] for phone in phones.values())


def test_a_phone_that_lost_its_key_is_a_wrong_phone(created: CreatedVault) -> None:
    with pytest.raises(WrongPhone):
        vault.open_vault(created.path, opener(0, 1, phones={0: Phone(0), 1: Phone()}))


def test_a_refusal_is_told_as_such(created: CreatedVault) -> None:
    with pytest.raises(UserRefused):
        vault.open_vault(created.path, opener(0, 1, phones={0: Phone(0), 1: Phone(1, refuse=True)}))


def test_a_phone_by_itself_is_told_that_others_are_needed(created: CreatedVault) -> None:
    with pytest.raises(WrongPhone, match="together with others"):
        vault.open_vault(created.path, PhoneOpener(Phone(0), fingerprint(0)))


def test_phones_for_a_vault_without_such_a_slot(tmp_path: Path) -> None:
    vault.create(tmp_path / "v", cipher="aes-256-gcm", slots=[RecoverySlotRequest()]).wipe()
    with pytest.raises(WrongPhone, match="no slot of this vault needs several"):
        vault.open_vault(tmp_path / "v", opener(0, 1))


@pytest.mark.parametrize("part", ["ciphertext", "subset"])
def test_a_changed_slot_is_tampering_and_not_a_wrong_phone(created: CreatedVault, part: str) -> None:
    main = created.path / store.MAIN

    def forge(header: dict[str, object]) -> None:
        kem = header["slots"][0]["kem"]  # type: ignore[index]
        if part == "ciphertext":
            kem["phones"][0]["ciphertext"] = kem["phones"][1]["ciphertext"]
        else:
            kem["subsets"][0]["wrapped"] = kem["subsets"][1]["wrapped"]

    main.write_bytes(edited(main.read_bytes(), forge))
    with pytest.raises(HeaderTampered):
        vault.open_vault(created.path, opener(0, 1, 2))
