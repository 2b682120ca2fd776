"""Checks of decoded JSON values against a fixed schema: exact members, exact types, bounds. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


class SchemaError(ValueError):
    """A decoded value breaks the schema. The message names the member, never its value."""


def members(value: object, names: Collection[str], where: str) -> dict[str, Any]:
    """Return `value` if it is an object with exactly the members `names`."""
    if not isinstance(value, dict):
        raise SchemaError(f"{where} is not an object")
    if value.keys() != set(names):
        raise SchemaError(f"{where} has other members than it should")
    return value


def array(value: object, lowest: int, highest: int, where: str) -> list[Any]:
    """Return `value` if it is an array of `lowest` to `highest` members."""
    if not isinstance(value, list) or not lowest <= len(value) <= highest:
        raise SchemaError(f"{where} is not an array of {lowest} to {highest} members")
    return value


def integer(value: object, lowest: int, highest: int, where: str) -> int:
    """Return `value` if it is an integer (not a boolean) within the bounds, both included."""
    if type(value) is not int or not lowest <= value <= highest:
        raise SchemaError(f"{where} is not an integer of {lowest} to {highest}")
    return value


def string(value: object, where: str) -> str:
    """Return `value` if it is a string."""
    if not isinstance(value, str):
        raise SchemaError(f"{where} is not a string")
    return value


def hex_bytes(value: object, lowest: int, highest: int, where: str) -> bytes:
    """Return the bytes of lower-case hexadecimal without separators, `lowest` to `highest` of them."""
    text = string(value, where)
    if set(text) <= set("0123456789abcdef") and len(text) % 2 == 0 and lowest <= len(text) // 2 <= highest:
        return bytes.fromhex(text)
    raise SchemaError(f"{where} is not hexadecimal of the right length")


def exact_hex(value: object, length: int, where: str) -> bytes:
    """Return the bytes of lower-case hexadecimal of exactly `length` bytes."""
    return hex_bytes(value, length, length, where)
