from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyslots.canonical import MAX_DEPTH, MAX_INTEGER, NotCanonical, decode, encode

SCALARS = st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_encoded_decodes_to_the_same(value: object) -> None:
    data = encode(value)
    assert decode(data) == value
    assert encode(decode(data)) == data
    assert data.isascii()


@given(st.dictionaries(st.text(max_size=4), st.integers(0, 9), min_size=2, max_size=8))
def test_order_of_members_does_not_count(value: dict[str, int]) -> None:
    assert encode(dict(reversed(value.items()))) == encode(value)
    keys = list(json.loads(encode(value)))
    assert keys == sorted(keys)


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_another_spelling_of_the_same_value_is_refused(
    value: object, indent: int | None, ascii_only: bool
) -> None:
    other = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    if other != encode(value):
        with pytest.raises(NotCanonical):
            decode(other)


@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_refused_or_are_the_canonical_form(data: bytes) -> None:
    try:
        value = decode(data)
    except NotCanonical:
        return
    assert encode(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"1.0",
        b"1e2",
        b"-0",
        b"01",
        b"+1",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b' {"a":1}',
        b'{"a":1}\n',
        b'"\\u0041"',
        b'"\\u00E9"',
        b'"\xc3\xa9"',
        b'"\xff"',
        b'"\\/"',
        b'"\\ud800"',
        b'"\t"',
        b'"open',
        b"[1,]",
        b"9007199254740992",
        b"-9007199254740992",
        b"9" * 5000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b'{"a":null}',
        b"\xef\xbb\xbf1",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_refused(data: bytes) -> None:
    with pytest.raises(NotCanonical):
        decode(data)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ({"b": [], "a": {}}, b'{"a":{},"b":[]}'),
        ('é\U0001f511\x7f\n"\\/', b'"\\u00e9\\ud83d\\udd11\\u007f\\n\\"\\\\/"'),
        ([True, False, 0, -1, MAX_INTEGER], b"[true,false,0,-1,9007199254740991]"),
        ({"\U0001f511": 1, "\uffff": 2}, b'{"\\uffff":2,"\\ud83d\\udd11":1}'),
    ],
)
def test_spelling(value: object, data: bytes) -> None:
    assert encode(value) == data
    assert decode(data) == value


@pytest.mark.parametrize(
    "value", [None, 1.5, b"x", {1: 2}, "\udc80", MAX_INTEGER + 1, {"a": {"b": None}}, (1,)]
)
def test_values_without_a_canonical_form(value: object) -> None:
    with pytest.raises(NotCanonical):
        encode(value)
