"""Extended attributes as they are stored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonevault.fs.errors import XattrDamaged
from phonevault.fs.format.xattrs import NAME_MAX, TRUSTED_PREFIX, VALUE_MAX_BYTES, XattrSeals, is_long
from phonevault.fs.keys import TreeKeys

NAMES = st.binary(min_size=1, max_size=NAME_MAX).filter(lambda name: 0 not in name)


def room() -> memoryview:
    return memoryview(bytearray(VALUE_MAX_BYTES))


@pytest.fixture(scope="module")
def seals(keys: TreeKeys) -> XattrSeals:
    return keys.xattrs


@given(name=NAMES, value=st.binary(max_size=300))
def test_what_was_sealed_opens(seals: XattrSeals, name: bytes, value: bytes) -> None:
    encoded, raw = seals.encode(name), seals.seal(name, value)
    assert seals.decode(encoded, raw) == name
    assert seals.open(name, raw, room()) == value
    assert len(TRUSTED_PREFIX + encoded) <= NAME_MAX
    assert is_long(encoded) == (len(name) > 161)
    assert value not in raw or len(value) < 4


@given(
    name=NAMES, other=NAMES, value=st.binary(max_size=30), spot=st.integers(0, 10_000), bit=st.integers(0, 7)
)
def test_a_changed_or_moved_value_does_not_open(
    seals: XattrSeals, name: bytes, other: bytes, value: bytes, spot: int, bit: int
) -> None:
    raw = bytearray(seals.seal(name, value))
    if other != name:
        with pytest.raises(XattrDamaged):
            seals.open(other, bytes(raw), room())
    raw[spot % len(raw)] ^= 1 << bit
    with pytest.raises(XattrDamaged):
        seals.open(name, bytes(raw), room())
    if is_long(seals.encode(name)):
        with pytest.raises(XattrDamaged):
            seals.decode(seals.encode(name), bytes(raw))


@pytest.mark.parametrize("encoded", ["", "=", "a", "AAAA", ".", ".AAAA", "A" * 236, "\udcff"])
@pytest.mark.parametrize("raw", [b"", b"x", bytes(28), bytes(29), bytes(400)])
def test_hostile_names_and_values(seals: XattrSeals, encoded: str, raw: bytes) -> None:
    with pytest.raises(XattrDamaged):
        seals.decode(encoded, raw)
    with pytest.raises(XattrDamaged):
        seals.open(b"user.name", raw, room())


@given(name=NAMES)
def test_a_changed_name_does_not_decrypt(seals: XattrSeals, name: bytes) -> None:
    encoded, raw = seals.encode(name), seals.seal(name, b"")
    changed = encoded[:-3] + ("A" if encoded[-3] != "A" else "B") + encoded[-2:]
    with pytest.raises(XattrDamaged):
        seals.decode(changed, raw)
