"""Canonical JSON (docs/format.md 1.1): one value, one byte string. Pure.

ASCII, keys sorted by code point, no white space, no fractions, integers of at most 53 bits, so that a reader
in any language keeps them exactly.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 16
"""Nesting of arrays and objects; the header needs six levels."""


class NotCanonical(ValueError):
    """Bytes that are not the canonical JSON of anything, or a value that has none."""


def encode(value: object) -> bytes:
    """Return the canonical JSON of `value`, without a final line feed.

    Raises:
        NotCanonical: it holds something else than strings, integers, booleans, lists and dictionaries with
            string keys, an integer of more than 53 bits, a lone surrogate, or nests deeper than `MAX_DEPTH`.
    """
    _check(value, MAX_DEPTH)
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode("ascii")


def decode(data: bytes) -> Any:
    """Return the value whose canonical JSON is `data`.

    Raises:
        NotCanonical: `data` is not canonical JSON.
    """
    try:
        text = data.decode("ascii")
        value = json.loads(text, parse_float=_refuse, parse_constant=_refuse)
    except NotCanonical:
        raise
    except (ValueError, RecursionError) as error:
        # ValueError: JSONDecodeError, UnicodeDecodeError, an integer of thousands of digits.
        raise NotCanonical("not JSON") from error
    if encode(value) != data:
        raise NotCanonical("not in canonical form")
    return value


def _refuse(_token: str) -> NoReturn:
    raise NotCanonical("a number that is not an integer")


def _check(value: object, depth: int) -> None:
    if isinstance(value, bool):
        return
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise NotCanonical("an integer of more than 53 bits")
    elif isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise NotCanonical("a lone surrogate")
    elif isinstance(value, (list, dict)):
        _check_container(value, depth)
    else:
        raise NotCanonical(f"a {type(value).__name__}")


def _check_container(value: list[object] | dict[object, object], depth: int) -> None:
    if depth == 0:
        raise NotCanonical("nested too deep")
    if isinstance(value, dict):
        for key, member in value.items():
            if not isinstance(key, str):
                raise NotCanonical("a key that is not a string")
            _check(key, depth - 1)
            _check(member, depth - 1)
    else:
        for member in value:
            _check(member, depth - 1)
