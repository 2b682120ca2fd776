"""Remembered names: right both ways, bounded, and gone after a lock."""

from __future__ import annotations

import pytest

from keyslots.secret import Secret
from phonevault.fs.errors import NameDamaged
from phonevault.fs.keys import TreeKeys
from phonevault.fs.known_names import KnownNames

HERE, THERE = bytes(16), bytes(15) + b"\1"
MOST = 3 * 4096


def tree_keys(first_byte: int = 0) -> TreeKeys:
    return TreeKeys(Secret.take(bytearray(range(first_byte, first_byte + 32))), bytes(16), 1)


def held(known: KnownNames, directories: list[bytes]) -> int:
    return sum(len(known.of(directory).encoded) for directory in directories)


def test_a_name_is_remembered_both_ways_in_its_directory_alone() -> None:
    known = KnownNames()
    known.note(known.of(HERE), b"a", "A")
    assert known.of(HERE).encoded == {b"a": "A"} and known.of(HERE).plain == {"A": b"a"}
    assert not known.of(THERE).encoded and not known.of(THERE).plain


def test_a_listed_name_is_remembered_for_its_removal() -> None:
    known = KnownNames()
    known.listed(known.of(HERE), b"a", "A")
    assert known.of(HERE).encoded == {b"a": "A"} and not known.of(HERE).plain


def test_few_are_remembered_of_many_directories_and_of_a_large_one() -> None:
    known = KnownNames()
    directories = [number.to_bytes(16, "big") for number in range(1000)]
    for directory in directories:
        for number in range(50):
            known.note(known.of(directory), b"%d" % number, str(number))
    assert 4096 <= held(known, directories) <= MOST
    for number in range(50_000):
        known.note(known.of(HERE), b"%d" % number, str(number))
    assert 0 < held(known, [HERE]) <= MOST


def test_asking_again_for_all_that_was_noted_keeps_no_more() -> None:
    known = KnownNames()
    directories: list[bytes] = []
    for turn in range(20):
        for number in range(400):
            directories.append((turn * 400 + number).to_bytes(16, "big"))
            for name in range(10):
                known.note(known.of(directories[-1]), b"%d" % name, str(name))
        for directory in directories:
            known.of(directory)
    kept = [*known._recent.values(), *known._older.values()]
    assert 0 < sum(len(each.encoded) for each in kept) <= MOST


def test_a_directory_that_is_asked_for_stays() -> None:
    known = KnownNames()
    known.note(known.of(HERE), b"a", "A")
    for number in range(20_000):
        known.note(known.of((number // 10 + 1).to_bytes(16, "big")), b"%d" % number, str(number))
        known.of(HERE)
    assert known.of(HERE).plain == {"A": b"a"}


def test_what_is_remembered_is_what_the_cipher_says() -> None:
    keys, fresh = tree_keys(), tree_keys()
    encoded = keys.encoded_name(HERE, b"name")
    assert encoded == keys.encoded_name(HERE, b"name") == fresh.encoded_name(HERE, b"name")
    assert keys.open_name(HERE, encoded) == fresh.open_name(HERE, encoded) == b"name"
    assert encoded not in (keys.encoded_name(THERE, b"name"), tree_keys(1).encoded_name(HERE, b"name"))


def test_a_name_that_was_opened_here_is_refused_there() -> None:
    keys = tree_keys()
    encoded = tree_keys().encoded_name(HERE, b"name")
    assert keys.open_name(HERE, encoded) == b"name"
    with pytest.raises(NameDamaged):
        keys.open_name(THERE, encoded)
    with pytest.raises(NameDamaged):
        keys.open_name(HERE, encoded[:-1] + ("A" if encoded[-1] != "A" else "Q"))


def test_a_lock_forgets_them() -> None:
    keys = tree_keys()
    keys.open_name(HERE, keys.encoded_name(HERE, b"name"))
    assert keys.known.of(HERE).plain
    keys.wipe()
    assert not keys.known.of(HERE).plain and not keys.known.of(HERE).encoded
