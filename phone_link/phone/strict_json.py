"""Canonical JSON for the store's files: one way to write a value, unknown or missing members refused."""

from __future__ import annotations

import json
from typing import Any

from phone_link.phone.errors import StoreDamaged

MAX_FILE_BYTES = 1 << 20


def encode(value: object) -> bytes:
    """Return `value` as canonical JSON: sorted keys, no white space, ASCII, one final line feed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def decode(data: bytes, what: str) -> Fields:
    """Parse one canonical JSON object.

    Args:
        data: the file's bytes.
        what: how an error message names the file.

    Raises:
        StoreDamaged: it is too long, not JSON, not an object, or not in canonical form.
    """
    if len(data) > MAX_FILE_BYTES:
        raise StoreDamaged(f"{what} is too long")
    try:
        value = json.loads(data)
        canonical = encode(value) == data
    except (ValueError, RecursionError):
        raise StoreDamaged(f"{what} is damaged") from None
    if not canonical:
        raise StoreDamaged(f"{what} is damaged (not in canonical form)")
    return Fields(value, what)


class Fields:
    """The members of one JSON object, each taken once with its type and bounds, none left over."""

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise StoreDamaged(f"{what} is damaged (an object was expected)")
        self._members: dict[str, Any] = dict(value)
        self._what = what

    def _take(self, name: str, kind: type) -> Any:
        value = self._members.pop(name, None)
        if type(value) is not kind:
            raise self.wrong(name)
        return value

    def wrong(self, name: str) -> StoreDamaged:
        """Return the error for a member that is missing or not acceptable (its value is not shown)."""
        return StoreDamaged(f"{self._what} is damaged (member {name!r})")

    def string(self, name: str, longest: int) -> str:
        """Take a string of at most `longest` characters."""
        value: str = self._take(name, str)
        if len(value) > longest:
            raise self.wrong(name)
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """Take a string that is one of `choices`."""
        value = self.string(name, max(map(len, choices)))
        if value not in choices:
            raise self.wrong(name)
        return value

    def integer(self, name: str, lowest: int, highest: int) -> int:
        """Take an integer within both bounds."""
        value: int = self._take(name, int)
        if not lowest <= value <= highest:
            raise self.wrong(name)
        return value

    def boolean(self, name: str) -> bool:
        """Take true or false."""
        value: bool = self._take(name, bool)
        return value

    def octets(self, name: str, shortest: int, longest: int | None = None) -> bytes:
        """Take lower-case hex of `shortest` to `longest` bytes (exactly `shortest` by default)."""
        text: str = self._take(name, str)
        try:
            value = bytes.fromhex(text)
        except ValueError:
            raise self.wrong(name) from None
        if value.hex() != text or not shortest <= len(value) <= (longest or shortest):
            raise self.wrong(name)
        return value

    def items(self, name: str, most: int) -> list[Any]:
        """Take an array of at most `most` values."""
        value: list[Any] = self._take(name, list)
        if len(value) > most:
            raise self.wrong(name)
        return value

    def object(self, name: str) -> Fields:
        """Take a nested object."""
        return Fields(self._take(name, dict), self._what)

    def finish(self) -> None:
        """Refuse members nobody took."""
        if self._members:
            raise StoreDamaged(f"{self._what} is damaged (unknown member {sorted(self._members)[0]!r})")
