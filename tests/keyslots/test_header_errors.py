"""Each row of the error table of docs/format.md 1.1: damaged, tampered, newer, wrong key are told apart."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.headers import (
    CHEAP,
    OAEP,
    PASSPHRASE,
    Made,
    edited,
    made,
    plain_canonical,
    rsa_key,
    with_checksum,
)

from keyslots.build import RecoverySlotRequest, new_header, new_recovery_code
from keyslots.derive import header_key
from keyslots.envelope import MAX_FILE_BYTES, encode_file, parse_file
from keyslots.errors import (
    BadParameter,
    HeaderDamaged,
    HeaderTampered,
    HeaderTooNew,
    KeyslotsError,
    NotMine,
    WrongKey,
)
from keyslots.secret import Secret
from keyslots.slots import passphrase, phone, recovery
from keyslots.unlock import open_slot


def small_file() -> bytes:
    new = new_header([RecoverySlotRequest(new_recovery_code())], "aes-256-xts")
    with header_key(new.vmk, new.header.vault_id) as key:
        return encode_file(new.header, key)


def open_with_right_secret(vault: Made, data: bytes, slot_id: int) -> Secret:
    """What a program does that holds the right secret of a slot: RSA private key, passphrase or code."""
    sealed = parse_file(data)
    slot = next((slot for slot in sealed.header.slots if slot.id == slot_id), sealed.header.slots[slot_id])
    if isinstance(slot.kem, phone.PhoneKem):
        if slot.kem.fingerprint != vault.header.slots[0].kem.fingerprint:
            raise NotMine("another phone")
        try:
            secret = phone.slot_secret(bytearray(rsa_key().decrypt(slot.kem.ciphertext, OAEP)))
        except ValueError:
            raise HeaderTampered("what openers.PhoneOpener makes of DecryptFailed") from None
    elif isinstance(slot.kem, passphrase.PassphraseKem):
        secret = passphrase.unwrap(slot.kem, PASSPHRASE)
    else:
        secret = recovery.unwrap(slot.kem, vault.code)
    return open_slot(sealed, slot, secret).vmk


@pytest.mark.parametrize("slot_id", [0, 1, 2])
def test_a_sound_file_opens_through_each_slot(slot_id: int) -> None:
    assert open_with_right_secret(made(), made().file(), slot_id) == made().vmk


def test_the_file_is_canonical_json_and_its_checksum_the_specified_one() -> None:
    data = made().file()
    envelope = json.loads(data)
    assert plain_canonical(envelope) + b"\n" == data
    assert with_checksum(envelope) == data
    assert parse_file(data).header == made().header


# --- damaged ---


def test_every_flipped_bit_is_damage() -> None:
    data = small_file()
    for position in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            with pytest.raises(HeaderDamaged):
                parse_file(bytes(flipped))


def test_a_changed_byte_anywhere_in_a_header_of_all_kinds_is_damage() -> None:
    data = made().file()
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 + position % 255
        with pytest.raises(HeaderDamaged):
            parse_file(bytes(flipped))


def test_every_shortened_or_torn_file_is_damage() -> None:
    data = small_file()
    for length in range(len(data)):
        for torn in (
            data[:length],
            data[:length] + bytes(len(data) - length),
            data[:length] + data[length + 1 :],
        ):
            with pytest.raises(HeaderDamaged):
                parse_file(torn)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data + b"\n",
        lambda data: data[:-1],
        lambda data: data[:-1] + b"\r\n",
        lambda data: b" " + data,
        lambda data: json.dumps(json.loads(data), indent=1).encode(),
        lambda data: plain_canonical(json.loads(data) | {"more": 1}) + b"\n",
        lambda data: plain_canonical({"header": {}, "mac": ""}) + b"\n",
        lambda data: plain_canonical(json.loads(data) | {"checksum": "AB" * 32}) + b"\n",
        lambda data: plain_canonical(json.loads(data) | {"checksum": 7}) + b"\n",
        lambda data: plain_canonical(json.loads(data) | {"mac": "00" * 32}) + b"\n",
        lambda data: b"[]\n",
        lambda data: b"\n",
        lambda data: b"[" * 500_000 + b"\n",
        lambda data: b" " * (MAX_FILE_BYTES + 1),
    ],
)
def test_what_is_damage(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(HeaderDamaged):
        parse_file(spoil(made().file()))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_damage(data: bytes) -> None:
    with pytest.raises(HeaderDamaged):
        parse_file(data)


# --- tampered ---

Path = tuple[str | int, ...]


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict):
        for key, member in value.items():
            yield from leaves(member, (*path, key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from leaves(member, (*path, index))
    else:
        yield path, value


def put(header: dict[str, Any], path: Path, value: Any) -> None:
    target: Any = header
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value


def other_values(value: Any) -> list[Any]:
    """Values near `value` that a careful forger might write in its place."""
    if isinstance(value, int):
        return [value + 1, value - 1, 0, value * 2, True, "1", -value, 2**53 - 1, [value]]
    if value and set(value) <= set("0123456789abcdef"):
        flipped = format(int(value, 16) ^ 1, f"0{len(value)}x")
        return [flipped, "00" * (len(value) // 2), value[:-2], value + "00", value.upper() + "A", 1, {}]
    return [value + "x", value[:-1], "", 1, value.replace("2", "3"), [value]]


SECRET_INPUTS = {"salt", "memory_kib", "iterations", "lanes", "public_key"}
"""Members that go into the derivation from a passphrase or code: changed ones look like another secret."""


def edits() -> list[tuple[str, Path, Any]]:
    header = json.loads(made().file())["header"]
    return [
        (".".join(map(str, path)) + f"={str(value)[:12]}", path, value)
        for path, old in leaves(header)
        for value in other_values(old)
        if value != old or type(value) is not type(old)
    ]


def test_every_edit_with_a_right_checksum_is_tampering() -> None:
    """All members of the header, several values each, tried through every slot whose secret is at hand."""
    data = made().file()
    count = 0
    for name, path, value in edits():
        forged = edited(data, functools.partial(put, path=path, value=value))
        for slot_id in (0, 2, 1):
            # Argon2 is slow: of its slot only what the other slots cannot tell.
            if slot_id == 1 and path[:2] != ("slots", 1):
                continue
            in_own_slot = path[:2] == ("slots", slot_id)
            expected: tuple[type[Exception], ...] = (HeaderTampered,)
            if path in {("version",), ("flags",)}:
                expected = (HeaderTampered, HeaderTooNew)
            if in_own_slot and slot_id != 0 and path[-1] in SECRET_INPUTS:
                expected = (HeaderTampered, WrongKey)
            try:
                open_with_right_secret(made(), forged, slot_id)
            except expected:
                count += 1
            else:
                raise AssertionError(f"{name} was accepted through slot {slot_id}")
    assert count > 500


@pytest.mark.parametrize("name", ["salt", "public_key"])
def test_a_forged_input_of_the_derivation_looks_like_a_wrong_secret(name: str) -> None:
    """Said so in docs/format.md 1.3: no reader can tell a changed salt from a mistyped passphrase."""

    def edit(header: dict[str, Any]) -> None:
        kem = header["slots"][2]["kem"]
        kem[name] = kem[name][2:] + "07"

    with pytest.raises(NotMine):
        open_with_right_secret(made(), edited(made().file(), edit), 2)


def remove(header: dict[str, Any], *path: str | int) -> None:
    target: Any = header
    for step in path[:-1]:
        target = target[step]
    del target[path[-1]]


def add_slots(header: dict[str, Any], count: int) -> None:
    header["slots"] = [header["slots"][2] | {"id": n} for n in range(count)]


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown member": lambda h: h.update(extra=1),
    "missing member": lambda h: remove(h, "created"),
    "unknown slot member": lambda h: h["slots"][0].update(extra=1),
    "unknown kem member": lambda h: h["slots"][0]["kem"].update(extra=1),
    "unknown key member": lambda h: h["slots"][0]["keys"][0].update(extra=1),
    "unknown epochs member": lambda h: h["epochs"].update(extra=1),
    "missing kem member": lambda h: remove(h, "slots", 1, "kem", "ephemeral"),
    "no slots": lambda h: h.update(slots=[]),
    "33 slots": lambda h: add_slots(h, 33),
    "duplicate ids": lambda h: h["slots"][1].update(id=0),
    "slots out of order": lambda h: h["slots"].reverse(),
    "id 32": lambda h: h["slots"][2].update(id=32),
    "unknown kind": lambda h: h["slots"][2].update(kind="retina"),
    "kind of another kem": lambda h: h["slots"][2].update(kind="phone"),
    "unknown cipher": lambda h: h.update(cipher="rot13"),
    "cipher of other sizes": lambda h: h.update(block_size=1 << 20),
    "XTS": lambda h: h.update(cipher="aes-256-xts"),
    "block size no power of two": lambda h: h.update(block_size=5000),
    "unsorted flags": lambda h: h.update(flags=["b", "a"]),
    "doubled flags": lambda h: h.update(flags=["a", "a"]),
    "flags no strings": lambda h: h.update(flags=[1]),
    "version 0": lambda h: h.update(version=0),
    "version true": lambda h: h.update(version=True),
    "another format": lambda h: h.update(format="luks"),
    "no live epoch": lambda h: h["epochs"].update(live=[]),
    "doubled epoch": lambda h: h["epochs"].update(live=[1, 1]),
    "current not live": lambda h: h["epochs"].update(current=2),
    "names not live": lambda h: h["epochs"].update(names=2),
    "epoch without keys": lambda h: h["epochs"].update(live=[1, 2]),
    "epoch over 32 bits": lambda h: h["epochs"].update(live=[1, 2**32]),
    "keys doubled": lambda h: h["slots"][0]["keys"].append(h["slots"][0]["keys"][0]),
    "label too long": lambda h: h["slots"][0].update(label="x" * 65),
    "label with a control character": lambda h: h["slots"][0].update(label="a\x1b[31m"),
    "month 13": lambda h: h.update(created="2026-13-01T00:00:00Z"),
    "generation 0": lambda h: h.update(generation=0),
    "fingerprint of another key": lambda h: h["slots"][0]["kem"].update(fingerprint="00" * 32),
    "weak key": lambda h: h["slots"][0]["kem"].update(public_key="30" * 300),
    "short ciphertext": lambda h: h["slots"][0]["kem"].update(ciphertext="00" * 255),
    "slot removed": lambda h: remove(h, "slots", 0),
    "header no object": lambda h: (h.clear(), h.update(format="phonevault", version=1, flags=[])),
}


@pytest.mark.parametrize("name", EDITS)
def test_forged_headers(name: str) -> None:
    forged = edited(made().file(), EDITS[name])
    with pytest.raises(HeaderTampered):
        open_with_right_secret(made(), forged, 2 if name != "slot removed" else 1)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("memory_kib", 8191),
        ("memory_kib", 4 * 1024 * 1024 + 1),
        ("memory_kib", -1),
        ("iterations", 0),
        ("iterations", 65),
        ("iterations", 10**12),
        ("lanes", 0),
        ("lanes", 17),
    ],
)
def test_costs_that_weaken_or_hang_are_refused_before_any_derivation(member: str, value: int) -> None:
    def edit(header: dict[str, Any]) -> None:
        header["slots"][1]["kem"]["argon2id"][member] = value

    with pytest.raises(HeaderTampered):
        parse_file(edited(made().file(), edit))


@pytest.mark.parametrize(("memory_gib", "iterations", "slots"), [(4, 5, 1), (1, 17, 1), (4, 4, 3)])
def test_work_is_bounded_in_one_slot_and_over_all(memory_gib: int, iterations: int, slots: int) -> None:
    def edit(header: dict[str, Any], count: int = slots) -> None:
        slot = header["slots"][1]
        slot["kem"]["argon2id"].update(memory_kib=memory_gib << 20, iterations=iterations)
        header["slots"] = [copy.deepcopy(slot) | {"id": n} for n in range(count)]

    with pytest.raises(HeaderTampered):
        parse_file(edited(made().file(), edit))
    if slots > 1:
        parse_file(edited(made().file(), functools.partial(edit, count=slots - 1)))


def test_a_mac_of_another_shape_is_tampering() -> None:
    envelope = json.loads(made().file())
    for mac in ("", "00" * 31, "AB" * 32, 7, None):
        if mac is None:
            continue
        with pytest.raises(HeaderTampered):
            parse_file(with_checksum(envelope | {"mac": mac}))


def test_another_mac_is_tampering() -> None:
    envelope = json.loads(made().file())
    forged = with_checksum(envelope | {"mac": "00" * 32})
    with pytest.raises(HeaderTampered, match="MAC"):
        open_with_right_secret(made(), forged, 2)


# --- slots of other vaults ---


@functools.cache
def other() -> Made:
    """A second vault for the same phone, passphrase and cost, with another recovery code."""
    return Made()


@pytest.mark.parametrize("slot_id", [0, 1, 2])
def test_a_slot_of_another_vault_is_tampering(slot_id: int) -> None:
    """The slot's own secret fits, so only the binding to the vault can tell."""
    theirs = json.loads(other().file())["header"]["slots"][slot_id]
    forged = edited(made().file(), lambda header: header["slots"].__setitem__(slot_id, theirs))
    owner = other() if slot_id == 2 else made()
    with pytest.raises(HeaderTampered):
        open_with_right_secret(owner, forged, slot_id)


def test_slots_that_change_places_are_tampering() -> None:
    def edit(header: dict[str, Any]) -> None:
        phone_slot, _, recovery_slot = header["slots"]
        phone_slot["id"], recovery_slot["id"] = 2, 0
        header["slots"] = [recovery_slot, header["slots"][1], phone_slot]

    with pytest.raises(HeaderTampered):
        open_with_right_secret(made(), edited(made().file(), edit), 0)


# --- newer, and what this program refuses to write ---


@pytest.mark.parametrize(
    "edit",
    [
        lambda h: h.update(version=2),
        lambda h: h.update(version=2, members_of_the_future={"a": [1]}),
        lambda h: (remove(h, "slots"), h.update(version=3)),
        lambda h: h.update(flags=["n-of-m"]),
        lambda h: h.update(flags=["a", "b"], more=True),
    ],
)
def test_newer_versions_and_flags(edit: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(HeaderTooNew):
        parse_file(edited(made().file(), edit))


def test_what_no_reader_would_accept_is_not_written() -> None:
    import dataclasses

    with made().key() as key:
        for changes in (
            {"generation": 0},
            {"slots": ()},
            {"flags": ("x",)},
            {"created": "now"},
            {"block_size": 1},
        ):
            with pytest.raises(BadParameter):
                encode_file(dataclasses.replace(made().header, **changes), key)


@given(st.data())
def test_no_forged_value_crashes_the_reader(data: st.DataObject) -> None:
    header = json.loads(made().file())["header"]
    path, _ = data.draw(st.sampled_from(list(leaves(header))))
    steps = data.draw(st.integers(1, len(path)))
    value = data.draw(
        st.recursive(
            st.integers(-(2**53) + 1, 2**53 - 1)
            | st.booleans()
            | st.text(st.characters(codec="utf-8"), max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text("abk", max_size=2), inner, max_size=3)
            ),
            max_leaves=5,
        )
    )
    forged = edited(made().file(), functools.partial(put, path=path[:steps], value=value))
    try:
        parse_file(forged)
    except KeyslotsError as error:
        assert isinstance(error, (HeaderTampered, HeaderTooNew))


def test_messages_hold_no_values_of_the_file() -> None:
    def edit(header: dict[str, Any]) -> None:
        header["slots"][0]["label"] = "\x1b]0;evil\x07"

    with pytest.raises(HeaderTampered) as info:
        parse_file(edited(made().file(), edit))
    assert "evil" not in str(info.value)
    assert CHEAP.memory_kib == 8192
