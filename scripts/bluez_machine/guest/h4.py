"""HCI H4: where one packet ends in a stream (Core Specification Vol 4 Part A 2). No I/O."""

from __future__ import annotations

from collections.abc import Iterator

# Indicator: bytes of the header after it, and how many of its last bytes are the length.
_HEADERS = {1: (3, 1), 2: (4, 2), 3: (3, 1), 4: (2, 1)}


class NotH4(ValueError):
    """A packet indicator nobody knows: the stream is out of step."""


class Packets:
    """Cuts a stream of H4 into packets."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Every packet that is complete now, indicator included; `NotH4` if the stream is damaged."""
        self._rest += data
        while (size := self._size()) is not None and len(self._rest) >= size:
            packet, self._rest = self._rest[:size], self._rest[size:]
            yield packet

    def _size(self) -> int | None:
        if not self._rest:
            return None
        if self._rest[0] not in _HEADERS:
            raise NotH4(f"packet indicator {self._rest[0]}")
        header, width = _HEADERS[self._rest[0]]
        if len(self._rest) < 1 + header:
            return None
        length = int.from_bytes(self._rest[1 + header - width : 1 + header], "little")
        return 1 + header + length
