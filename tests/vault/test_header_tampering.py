"""A header changed on the disk, opened by every kind of secret: damaged, tampered, newer and wrong key are told apart."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.headers import CHEAP, PASSPHRASE, edited, public_der, rsa_key
from support.software_phone import Phone

from keyslots import edit, store
from keyslots.build import PassphraseSlotRequest, PhonePassphraseSlotRequest, PhonesSlotRequest
from keyslots.derive import header_key
from keyslots.envelope import encode_file
from keyslots.errors import HeaderDamaged, HeaderTampered, HeaderTooNew, WrongKey
from phonevault import vault
from phonevault.vault import (
    PassphraseOpener,
    PhoneOpener,
    PhonePassphraseOpener,
    PhoneSlotRequest,
    PhonesOpener,
    RecoveryOpener,
    RecoverySlotRequest,
    SlotOpener,
)

KINDS = ("phone", "passphrase", "recovery", "phone+passphrase", "phones")
OTHER = b"the other half of it"
Change = Callable[[dict[str, Any]], object]


class Made:
    """A vault with a slot of each kind, in the order of `KINDS`; its header as bytes, and its code."""

    def __init__(self, path: Path) -> None:
        keys = tuple(public_der(rsa_key(number)) for number in range(3))
        slots: list[vault.NewSlot] = [
            PhoneSlotRequest(keys[0]),
            PassphraseSlotRequest(bytearray(PASSPHRASE), cost=CHEAP),
            RecoverySlotRequest(),
        ]
        made = vault.create(path, cipher="aes-256-gcm", slots=slots)
        header, vmks = made.header, {1: made.vmk}
        both = PhonePassphraseSlotRequest(keys[0], bytearray(OTHER), cost=CHEAP)
        for request in (both, PhonesSlotRequest(keys, 2)):
            header, _ = edit.add_slot(header, vmks, request)
        with header_key(made.vmk, header.vault_id) as key:
            self.data = encode_file(header, key)
        self.path, self.code = path, made.recovery_code or ""
        assert self.code

    def opener(self, kind: str) -> SlotOpener:
        prints = [hashlib.sha256(public_der(rsa_key(number))).hexdigest() for number in range(2)]
        members = [PhoneOpener(Phone(number), prints[number]) for number in range(2)]
        openers: dict[str, Callable[[], SlotOpener]] = {
            "phone": lambda: members[0],
            "passphrase": lambda: PassphraseOpener(bytearray(PASSPHRASE)),
            "recovery": lambda: RecoveryOpener(self.code),
            "phone+passphrase": lambda: PhonePassphraseOpener(members[0], bytearray(OTHER)),
            "phones": lambda: PhonesOpener(members),
        }
        return openers[kind]()

    def write(self, main: bytes | None, backup: bytes | None) -> None:
        for name, data in ((store.MAIN, main), (store.BACKUP, backup)):
            (self.path / name).unlink(missing_ok=True)
            if data is not None:
                (self.path / name).write_bytes(data)

    def open(self, kind: str) -> str:
        """The kind of the slot that opened."""
        opened = vault.open_vault(self.path, self.opener(kind))
        opened.wipe()
        return opened.slot.kind


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("tampering") / "vault")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Another vault of the same phones and passphrases."""
    return Made(tmp_path_factory.mktemp("tampering") / "other")


def slot_of(header: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = header["slots"][KINDS.index(kind)]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_untouched_it_opens_through_each_kind(made: Made, kind: str) -> None:
    made.write(made.data, made.data)
    assert made.open(kind) == kind


@pytest.mark.parametrize("kind", KINDS)
def test_a_slot_of_another_vault_is_tampering(made: Made, other: Made, kind: str) -> None:
    theirs = slot_of(json.loads(other.data)["header"], kind)

    def swap(header: dict[str, Any]) -> None:
        header["slots"][KINDS.index(kind)] = theirs

    forged = edited(made.data, swap)
    made.write(forged, forged)
    # A recovery code is of one vault: to it the other vault's slot is a wrong one.
    with pytest.raises(WrongKey if kind == "recovery" else HeaderTampered):
        made.open(kind)
    through = "recovery" if kind != "recovery" else "passphrase"
    with pytest.raises(HeaderTampered):
        made.open(through)


def cost(header: dict[str, Any], kind: str, **changes: int) -> None:
    kem = slot_of(header, kind)["kem"]
    kem.get("passphrase", kem)["argon2id"].update(changes)


@pytest.mark.parametrize("kind", ["passphrase", "phone+passphrase"])
@pytest.mark.parametrize("change", [{"memory_kib": 8200}, {"iterations": 2}, {"lanes": 2}])
def test_an_edited_cost_is_a_wrong_key_through_its_slot_and_tampering_through_others(
    made: Made, kind: str, change: dict[str, int]
) -> None:
    forged = edited(made.data, lambda header: cost(header, kind, **change))
    made.write(forged, forged)
    with pytest.raises(WrongKey):
        made.open(kind)
    for through in ("phone", "recovery", "phones"):
        with pytest.raises(HeaderTampered):
            made.open(through)


@pytest.mark.parametrize("kind", ["passphrase", "phone+passphrase"])
@pytest.mark.parametrize(
    "change",
    [{"memory_kib": 8191}, {"memory_kib": 1 << 32}, {"iterations": 65}, {"iterations": 0}, {"lanes": 17}],
)
def test_a_cost_out_of_bounds_is_tampering_before_anything_is_derived(
    made: Made, kind: str, change: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = edited(made.data, lambda header: cost(header, kind, **change))
    made.write(forged, forged)
    monkeypatch.setattr(
        "keyslots.slots.passphrase.Argon2id", lambda **_: pytest.fail("something was derived")
    )
    with pytest.raises(HeaderTampered):
        made.open(kind)


def doubled(header: dict[str, Any]) -> None:
    header["slots"].insert(1, copy.deepcopy(header["slots"][0]))


ALWAYS: dict[str, tuple[Change, type[Exception]]] = {
    "a slot id doubled": (lambda h: h["slots"][1].update(id=0), HeaderTampered),
    "a slot doubled": (doubled, HeaderTampered),
    "unknown kind": (lambda h: h["slots"][2].update(kind="retina"), HeaderTampered),
    "unknown flag": (lambda h: h.update(flags=["phones", "retina"]), HeaderTooNew),
    "unknown flag and kind": (
        lambda h: (h.update(flags=["phones", "retina"]), h["slots"][2].update(kind="retina")),
        HeaderTooNew,
    ),
    "newer version": (lambda h: h.update(version=2), HeaderTooNew),
    "wrong epoch of a key": (lambda h: h["slots"][0]["keys"][0].update(epoch=2), HeaderTampered),
    "wrong epoch everywhere": (
        lambda h: (
            h["epochs"].update(current=2, names=2, files=2, live=[2]),
            [slot["keys"][0].update(epoch=2) for slot in h["slots"]],
        ),
        HeaderTampered,
    ),
    "a live epoch without keys": (lambda h: h["epochs"].update(live=[1, 2], current=2), HeaderTampered),
    "generation": (lambda h: h.update(generation=9), HeaderTampered),
    "cipher": (lambda h: h.update(cipher="aes-256-xts"), HeaderTampered),
    "a label": (lambda h: h["slots"][4].update(label="mine"), HeaderTampered),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ALWAYS)
def test_what_is_the_same_error_through_every_slot(made: Made, name: str, kind: str) -> None:
    change, error = ALWAYS[name]
    forged = edited(made.data, change)
    made.write(forged, made.data)  # a sound second copy is no way round
    with pytest.raises(error) as info:
        made.open(kind)
    assert type(info.value) is error


@pytest.mark.parametrize("keep", [0, 1, 100, -100, -1])
def test_a_truncated_copy_is_damaged_and_the_other_one_opens(made: Made, keep: int) -> None:
    short = made.data[:keep]
    made.write(short, made.data)
    assert made.open("phones") == "phones"
    assert any("damaged" in warning for warning in store.load(made.path).warnings)
    made.write(made.data, short)
    assert made.open("phones") == "phones"
    for second in (short, None):
        made.write(short, second)
        with pytest.raises(HeaderDamaged):
            made.open("phones")


def test_copies_that_differ_are_told_and_the_first_counts(made: Made) -> None:
    forged = edited(made.data, lambda header: header.update(generation=7))
    made.write(made.data, forged)
    assert made.open("phone") == "phone"
    assert any("differ" in warning for warning in store.load(made.path).warnings)
    made.write(forged, made.data)
    with pytest.raises(HeaderTampered):
        made.open("phone")


@pytest.mark.parametrize("kind", ["phone", "phones", "phone+passphrase"])
def test_two_slots_that_exchange_their_kems_are_tampering(made: Made, kind: str) -> None:
    """The same phone has a part in all three."""

    def exchange(header: dict[str, Any], first: str = "phone", second: str = "phone+passphrase") -> None:
        one, two = slot_of(header, first)["kem"], slot_of(header, second)["kem"]
        one["ciphertext"], two["phone"]["ciphertext"] = two["phone"]["ciphertext"], one["ciphertext"]

    forged = edited(made.data, functools.partial(exchange))
    made.write(forged, forged)
    with pytest.raises(HeaderTampered):
        made.open(kind)
