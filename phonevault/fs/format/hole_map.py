"""Where plaintext can be a hole, and where that lies in the ciphertext file (docs/format.md 4). Pure arithmetic, values in bytes.

A *unit* is the smallest plaintext that is a hole or not: a block under AES-256-GCM, a page under AES-256-XTS. The unit that
holds the last byte of a file is never taken for a hole.
"""

from __future__ import annotations

from collections.abc import Callable

from phonevault.fs.format.layout import HEADER_BYTES, Layout

BackingSeek = Callable[[int], int | None]
"""From an offset of the ciphertext file to the next data (or hole) at or behind it; None if there is none before its end."""


class HoleMap:
    """The arithmetic for one layout."""

    __slots__ = ("_layout", "_stored_unit", "unit")

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.unit = layout.hole_bytes
        self._stored_unit = layout.cipher_hole

    def stored_offset(self, unit: int) -> int:
        """Where a unit begins in the ciphertext file."""
        return HEADER_BYTES + unit * self._stored_unit

    def whole_units(self, offset: int, end: int, total: int) -> tuple[int, int]:
        """The part of ``offset`` … ``end`` that can become a hole in a file of ``total`` bytes; empty if the first is not smaller."""
        last = max(total - 1, 0) // self.unit
        low = -(-offset // self.unit)
        high = min(end // self.unit, last)
        return low * self.unit, max(low, high) * self.unit

    def stored_range(self, low: int, high: int) -> tuple[int, int]:
        """Offset and length of the ciphertext of ``low`` … ``high``, both at borders of units."""
        place = self.stored_offset(low // self.unit)
        return place, self.stored_offset(high // self.unit) - place

    def reservation(self, offset: int, end: int, total: int) -> list[tuple[int, int]]:
        """Ciphertext (offset, length) to reserve so that plaintext ``offset`` … ``end`` can be written to a file of ``total`` bytes.

        Beyond the range itself a write behind the end touches the file's header, if it is empty, and its old last unit.
        """
        first, stop = offset // self.unit, -(-end // self.unit)
        place = self.stored_offset(first) if first else 0
        ranges = [(place, max(self.stored_offset(stop), self._layout.cipher_size(end)) - place)]
        if first and end > total:
            last = total // self.unit
            if not total:
                ranges.insert(0, (0, HEADER_BYTES))
            elif last < first and total % self.unit:
                ranges.insert(0, self.stored_range(last * self.unit, (last + 1) * self.unit))
        return ranges

    def next_data(self, offset: int, total: int, data_from: BackingSeek) -> int:
        """SEEK_DATA from ``offset`` < ``total``."""
        last = (total - 1) // self.unit
        found = data_from(self.stored_offset(offset // self.unit))
        unit = last if found is None else min((found - HEADER_BYTES) // self._stored_unit, last)
        return max(offset, unit * self.unit)

    def next_hole(self, offset: int, total: int, data_from: BackingSeek, hole_from: BackingSeek) -> int:
        """SEEK_HOLE from ``offset`` < ``total``: the first unit whose ciphertext lies in a hole as a whole, else the end."""
        last = (total - 1) // self.unit
        place = self.stored_offset(offset // self.unit)
        while True:
            start = hole_from(place)
            if start is None:
                return total
            unit = -(-(start - HEADER_BYTES) // self._stored_unit)
            if unit >= last:
                return total
            stop = data_from(start)
            if stop is None or self.stored_offset(unit + 1) <= stop:
                return max(offset, unit * self.unit)
            place = stop
