"""Names: round trips, binding to the directory, strictness."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonevault.fs.errors import NameDamaged
from phonevault.fs.format import names
from phonevault.fs.format.links import target_size
from phonevault.fs.keys import TreeKeys

NAMES = st.binary(min_size=1, max_size=255).filter(lambda name: b"/" not in name and b"\0" not in name)


@given(NAMES, st.binary(min_size=16, max_size=16))
def test_round_trip(keys: TreeKeys, name: bytes, directory: bytes) -> None:
    encoded = names.encrypt_name(keys.names, directory, name)
    assert names.decrypt_name(keys.names, directory, encoded) == name
    stored = names.stored_name(encoded)
    assert len(stored) <= 255
    assert names.is_entry(stored)
    assert names.is_long(stored) == (len(name) > 175)


def test_a_name_belongs_to_its_directory(keys: TreeKeys) -> None:
    encoded = names.encrypt_name(keys.names, bytes(16), b"name")
    with pytest.raises(NameDamaged):
        names.decrypt_name(keys.names, b"\1" * 16, encoded)


@given(st.text(max_size=60))
def test_garbage_is_damage_and_nothing_else(keys: TreeKeys, text: str) -> None:
    with pytest.raises(NameDamaged):
        names.decrypt_name(keys.names, bytes(16), text)


def test_reserved_names_are_no_entries() -> None:
    for name in (names.DIRECTORY_ID_FILE, names.TEMPORARY_PREFIX + "00", names.LONG_PREFIX + "x.name"):
        assert not names.is_entry(name)


def test_symlink_targets(keys: TreeKeys) -> None:
    for target in (b"x", b"../a b", bytes(range(1, 256)) * 4):
        sealed = keys.seal_target(target)
        assert keys.open_target(sealed) == target
        assert target_size(len(sealed)) == len(target)
