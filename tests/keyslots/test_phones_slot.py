"""Slots that any n of m phones open, against the format computed step by step, and against who changes them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from support.headers import OAEP, edited, plain_canonical, public_der, rsa_key

from keyslots import edit, epochs
from keyslots.build import PhonesSlotRequest, RecoverySlotRequest, new_header, new_recovery_code
from keyslots.derive import header_key
from keyslots.envelope import encode_file, parse_file
from keyslots.errors import BadParameter, HeaderTampered, HeaderTooNew
from keyslots.header import Header, Slot, flags_of
from keyslots.secret import Secret
from keyslots.slots import phone, phones, recovery
from keyslots.slots.phones import PhonesKem
from keyslots.unlock import open_slot

Edit = Callable[[dict[str, Any]], object]


class Vault:
    """A header with a slot (0) for 2 of 3 phones and one (1) for a recovery code."""

    def __init__(self) -> None:
        self.code = new_recovery_code()
        keys = tuple(public_der(rsa_key(number)) for number in range(3))
        new = new_header([PhonesSlotRequest(keys, 2), RecoverySlotRequest(self.code)], "aes-256-gcm")
        self.header, self.vmk = new.header, new.vmk

    def file(self, header: Header | None = None) -> bytes:
        with header_key(self.vmk, self.header.vault_id) as key:
            return encode_file(header or self.header, key)


@functools.cache
def vault() -> Vault:
    return Vault()


@functools.cache
def other() -> Vault:
    """Another vault of the same phones."""
    return Vault()


def kem_of(slot: Slot) -> PhonesKem:
    assert isinstance(slot.kem, PhonesKem)
    return slot.kem


def shares(kem: PhonesKem, numbers: Iterable[int]) -> dict[int, Secret]:
    """What the phones with these keys decrypt, by place."""
    owners = {public_der(rsa_key(number)): rsa_key(number) for number in numbers}
    found = {}
    for place, part in enumerate(kem.phones):
        if part.public_key in owners:
            try:
                plain = owners[part.public_key].decrypt(part.ciphertext, OAEP)
            except ValueError:
                raise HeaderTampered("what openers.PhoneOpener makes of DecryptFailed") from None
            found[place] = phone.slot_secret(bytearray(plain))
    return found


def open_with(data: bytes, numbers: Iterable[int], slot_id: int = 0) -> Secret:
    """What a program does that has these phones at hand."""
    sealed = parse_file(data)
    slot = edit.slot_of(sealed.header, slot_id)
    kem = kem_of(slot)
    with phones.unwrap(sealed.header.vault_id, slot_id, kem, shares(kem, numbers)) as secret:
        return open_slot(sealed, slot, secret).vmk


@pytest.mark.parametrize("numbers", [(0, 1), (0, 2), (1, 2), (2, 1), (0, 1, 2)])
def test_any_two_of_three_open_it(numbers: tuple[int, ...]) -> None:
    assert open_with(vault().file(), numbers) == vault().vmk


@pytest.mark.parametrize("numbers", [(), (0,), (1,), (2,), (3, 4), (0, 3)])
def test_fewer_do_not(numbers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="fewer shares"):
        open_with(vault().file(), numbers)


def test_the_format_step_by_step() -> None:
    header = json.loads(vault().file())["header"]
    kem, vault_id = header["slots"][0]["kem"], bytes.fromhex(header["vault_id"])
    assert header["flags"] == ["phones"]
    prints = [part["fingerprint"] for part in kem["phones"]]
    assert prints == sorted(prints)
    keys = {public_der(rsa_key(number)).hex(): rsa_key(number) for number in range(3)}
    plain = [
        keys[part["public_key"]].decrypt(bytes.fromhex(part["ciphertext"]), OAEP) for part in kem["phones"]
    ]
    secrets = set()
    for subset, wrapped in zip([(0, 1), (0, 2), (1, 2)], kem["subsets"], strict=True):
        info = b"phonevault v1 slot phones\x00\x00" + bytes(subset)
        ikm = b"".join(plain[place] for place in subset)
        key = HKDF(hashes.SHA256(), 32, vault_id, info).derive(ikm)
        bound = {
            "kind": "phones",
            "phones": prints,
            "slot": 0,
            "subset": list(subset),
            "vault_id": header["vault_id"],
        }
        sealed = bytes.fromhex(wrapped["wrapped"])
        secrets.add(AESGCM(key).decrypt(bytes.fromhex(wrapped["nonce"]), sealed, plain_canonical(bound)))
    assert len(secrets) == 1
    slot = vault().header.slots[0]
    with phones.unwrap(vault_id, 0, kem_of(slot), shares(kem_of(slot), (0, 1, 2))) as secret:
        assert secrets == {bytes(secret.view)}


@pytest.mark.parametrize(("count", "threshold"), [(2, 2), (4, 2), (5, 3), (8, 4), (8, 8)])
def test_every_subset_has_its_own_wrapping(count: int, threshold: int) -> None:
    kem, secret = phones.encapsulate(
        bytes(16), 3, [public_der(rsa_key(number)) for number in range(count)], threshold
    )
    assert len(kem.subsets) == math.comb(count, threshold) <= 70
    assert len({wrapped.nonce for wrapped in kem.subsets}) == len(kem.subsets)
    every = shares(kem, range(count))
    assert len(every) == count
    for subset in list(itertools.combinations(range(count), threshold))[:10]:
        assert phones.unwrap(bytes(16), 3, kem, {place: every[place] for place in subset}) == secret
    assert phones.unwrap(bytes(16), 3, kem, every) == secret
    assert phones.parse(json.loads(json.dumps(kem.to_json()))) == kem


def test_a_slot_is_wrapped_anew_without_any_phone() -> None:
    made = vault()
    header, slot = edit.rewrap_slot(made.header, {1: made.vmk}, 0)
    old = kem_of(made.header.slots[0])
    assert not {part.ciphertext for part in kem_of(slot).phones} & {part.ciphertext for part in old.phones}
    assert not {one.wrapped for one in kem_of(slot).subsets} & {one.wrapped for one in old.subsets}
    assert open_with(made.file(header), (1, 2)) == made.vmk
    newer, _, vmk = epochs.begin_epoch(made.header, {1: made.vmk})
    with header_key(vmk, newer.vault_id) as key:
        assert open_with(encode_file(newer, key), (0, 2)) == vmk
    vmk.wipe()


def test_the_flag_comes_and_goes_with_the_slot() -> None:
    made = vault()
    without = edit.remove_slot(made.header, 0)
    assert without.flags == ()
    parse_file(made.file(without))
    request = PhonesSlotRequest((public_der(rsa_key(0)), public_der(rsa_key(1))), 2)
    again, slot = edit.add_slot(without, {1: made.vmk}, request)
    assert again.flags == ("phones",) == flags_of(again.slots)
    assert open_with(made.file(again), (0, 1), slot.id) == made.vmk


def test_a_program_that_does_not_know_the_flag_refuses_the_vault_as_newer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As every released program does with a flag that it does not know."""
    data = vault().file()
    monkeypatch.setattr("keyslots.header.FLAGS", frozenset())
    with pytest.raises(HeaderTooNew):
        parse_file(data)


@pytest.mark.parametrize(
    ("numbers", "threshold"),
    [((0,), 1), ((0, 1), 1), ((0, 1), 3), ((0, 1), 0), (tuple(range(9)), 2), ((0, 0), 2), ((0, 1, 0), 2)],
)
def test_numbers_out_of_bounds(numbers: tuple[int, ...], threshold: int) -> None:
    with pytest.raises(BadParameter):
        phones.encapsulate(bytes(16), 0, [public_der(rsa_key(number)) for number in numbers], threshold)


def test_a_key_that_is_none() -> None:
    with pytest.raises(BadParameter):
        phones.encapsulate(bytes(16), 0, [public_der(rsa_key(0)), b"no key"], 2)


# -- tampering -----------------------------------------------------------------------------------------------------


def kem_json(header: dict[str, Any]) -> dict[str, Any]:
    kem: dict[str, Any] = header["slots"][0]["kem"]
    return kem


def swap(items: list[Any], one: int, two: int) -> None:
    items[one], items[two] = items[two], items[one]


def theirs(vault: Vault) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(vault.file())["header"]
    return header


SCHEMA: dict[str, Edit] = {
    "threshold 1": lambda h: kem_json(h).update(threshold=1),
    "threshold 3": lambda h: kem_json(h).update(threshold=3),
    "threshold 0": lambda h: kem_json(h).update(threshold=0),
    "threshold true": lambda h: kem_json(h).update(threshold=True),
    "threshold text": lambda h: kem_json(h).update(threshold="2"),
    "no phones": lambda h: kem_json(h).update(phones=[]),
    "a phone removed": lambda h: kem_json(h)["phones"].pop(),
    "a phone twice": lambda h: kem_json(h)["phones"].__setitem__(1, kem_json(h)["phones"][0]),
    "phones in another order": lambda h: swap(kem_json(h)["phones"], 0, 1),
    "nine phones": lambda h: kem_json(h).update(phones=kem_json(h)["phones"] * 3),
    "a subset removed": lambda h: kem_json(h)["subsets"].pop(),
    "a subset more": lambda h: kem_json(h)["subsets"].append(kem_json(h)["subsets"][0]),
    "subsets no list": lambda h: kem_json(h).update(subsets={}),
    "a subset of other members": lambda h: kem_json(h)["subsets"][0].update(extra=1),
    "a short subset": lambda h: kem_json(h)["subsets"][0].update(wrapped="00" * 47),
    "a short nonce": lambda h: kem_json(h)["subsets"][0].update(nonce="00" * 11),
    "an unknown member": lambda h: kem_json(h).update(extra=1),
    "a phone of other members": lambda h: kem_json(h)["phones"][0].update(extra=1),
    "fingerprint of another phone": lambda h: kem_json(h)["phones"][0].update(fingerprint="00" * 32),
    "without its flag": lambda h: h.update(flags=[]),
    "flag without a slot": lambda h: h.update(slots=h["slots"][1:]),
    "another kind": lambda h: h["slots"][0].update(kind="phone"),
    "kind of another kem": lambda h: h["slots"][1].update(kind="phones"),
}


@pytest.mark.parametrize("name", SCHEMA)
def test_what_no_writer_writes_is_tampering(name: str) -> None:
    with pytest.raises(HeaderTampered):
        parse_file(edited(vault().file(), SCHEMA[name]))


FORGED: dict[str, Edit] = {
    "a bit of a subset": lambda h: kem_json(h)["subsets"][0].update(wrapped="00" * 48),
    "a nonce": lambda h: kem_json(h)["subsets"][0].update(nonce="00" * 12),
    "two subsets exchanged": lambda h: swap(kem_json(h)["subsets"], 0, 1),
    "another subset in its place": lambda h: kem_json(h)["subsets"].__setitem__(0, kem_json(h)["subsets"][2]),
    "a share": lambda h: kem_json(h)["phones"][0].update(ciphertext="00" * 256),
    "the shares of another vault": lambda h: kem_json(h).update(phones=kem_json(theirs(other()))["phones"]),
    "one share of another vault": lambda h: kem_json(h)["phones"].__setitem__(
        0, kem_json(theirs(other()))["phones"][0]
    ),
    "the subsets of another vault": lambda h: kem_json(h).update(
        subsets=kem_json(theirs(other()))["subsets"]
    ),
    "the kem of another vault": lambda h: h["slots"][0].update(kem=kem_json(theirs(other()))),
    "the slot of another vault": lambda h: h["slots"].__setitem__(0, theirs(other())["slots"][0]),
}


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize("numbers", [(0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_a_forged_slot_is_tampering_through_itself_and_through_every_other(
    name: str, numbers: tuple[int, ...]
) -> None:
    forged = edited(vault().file(), FORGED[name])
    with pytest.raises(HeaderTampered):
        open_with(forged, numbers)
    sealed = parse_file(forged)
    slot = sealed.header.slots[1]
    assert isinstance(slot.kem, recovery.RecoveryKem)
    with recovery.unwrap(slot.kem, vault().code) as secret, pytest.raises(HeaderTampered, match="MAC"):
        open_slot(sealed, slot, secret)


@pytest.mark.parametrize("part", ["phones", "subsets", "kem"])
def test_two_slots_of_one_vault_cannot_exchange_their_parts(part: str) -> None:
    made = vault()
    keys = tuple(public_der(rsa_key(number)) for number in range(3))
    header, second = edit.add_slot(made.header, {1: made.vmk}, PhonesSlotRequest(keys, 2))

    def forge(h: dict[str, Any]) -> None:
        one, two = h["slots"][0], h["slots"][2]
        if part != "kem":
            one, two = one["kem"], two["kem"]
        one[part], two[part] = two[part], one[part]

    data = made.file(header)
    assert open_with(data, (0, 1), second.id) == made.vmk
    for slot_id in (0, second.id):
        with pytest.raises(HeaderTampered):
            open_with(edited(data, forge), (0, 1), slot_id)


@pytest.mark.parametrize("bound", ["vault", "slot", "phones", "place"])
def test_a_subset_is_bound_to_its_place_by_itself(bound: str) -> None:
    """Before the volume key's own binding (keyslots.wrap) is looked at."""
    slot = vault().header.slots[0]
    kem, vault_id, slot_id = kem_of(slot), vault().header.vault_id, 0
    given = {place: share for place, share in shares(kem, (0, 1, 2)).items() if place < 2}
    with phones.unwrap(vault_id, slot_id, kem, given) as secret:
        assert len(secret) == 32
    if bound == "vault":
        vault_id = bytes(16)
    elif bound == "slot":
        slot_id = 5
    elif bound == "phones":
        last = dataclasses.replace(kem.phones[2], fingerprint=bytes(32))
        kem = dataclasses.replace(kem, phones=(*kem.phones[:2], last))
    else:
        given = {0: given[1], 1: given[0]}
    with pytest.raises(HeaderTampered):
        phones.unwrap(vault_id, slot_id, kem, given)


def test_subsets_that_hold_different_secrets_are_tampering() -> None:
    """Only who knows the shares can make them; with all phones at hand it is found."""
    kem = kem_of(vault().header.slots[0])
    known = shares(kem, (0, 1, 2))
    with Secret.random(32) as wrong:
        forged = phones._wrap(vault().header.vault_id, 0, kem.phones, (0, 2), known, wrong)
    kem = dataclasses.replace(kem, subsets=(kem.subsets[0], forged, kem.subsets[2]))
    with pytest.raises(HeaderTampered, match="two ways"):
        phones.unwrap(vault().header.vault_id, 0, kem, known)
