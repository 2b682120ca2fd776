"""The arithmetic of holes, against a ciphertext file described as a set of backing pages that hold data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonevault.fs.format.hole_map import HoleMap
from phonevault.fs.format.layout import Layout, XtsLayout

PAGE = 4096
LAYOUTS = st.sampled_from([Layout(4096), Layout(8192), Layout(65536), XtsLayout(65536)])
SIZES = st.integers(1, 600_000)


class Backing:
    """A sparse ciphertext file: pages of data, holes between them."""

    def __init__(self, size: int, pages: set[int]) -> None:
        self.size = size
        self.pages = pages

    def is_data(self, place: int) -> bool:
        return place // PAGE in self.pages

    def find(self, place: int, data: bool) -> int | None:
        if place >= self.size:
            return None
        while place < self.size:
            if self.is_data(place) == data:
                return place
            place = (place // PAGE + 1) * PAGE
        return None if data else self.size

    def data_from(self, place: int) -> int | None:
        return self.find(place, True)

    def hole_from(self, place: int) -> int | None:
        return self.find(place, False)


@st.composite
def sparse_files(draw: st.DrawFn) -> tuple[Layout, int, Backing]:
    layout, total = draw(LAYOUTS), draw(SIZES)
    size = layout.cipher_size(total)
    pages = draw(st.sets(st.integers(0, size // PAGE)))
    return layout, total, Backing(size, pages)


def unit_may_hold_data(layout: Layout, holes: HoleMap, total: int, backing: Backing, unit: int) -> bool:
    if unit >= (total - 1) // holes.unit:
        return True
    begin, end = holes.stored_offset(unit), holes.stored_offset(unit + 1)
    return any(backing.is_data(place) for place in [*range(begin, end, PAGE), end - 1])


@given(sparse_files(), st.data())
def test_data_and_holes_tile_the_file_as_the_backing_store_has_them(
    drawn: tuple[Layout, int, Backing], data: st.DataObject
) -> None:
    layout, total, backing = drawn
    holes = HoleMap(layout)
    offset = data.draw(st.integers(0, total - 1))
    found = holes.next_data(offset, total, backing.data_from)
    assert offset <= found < total
    for unit in range(offset // holes.unit, found // holes.unit):
        assert not unit_may_hold_data(layout, holes, total, backing, unit)
    assert unit_may_hold_data(layout, holes, total, backing, found // holes.unit)
    hole = holes.next_hole(offset, total, backing.data_from, backing.hole_from)
    assert offset <= hole <= total
    if hole < total:
        assert not unit_may_hold_data(layout, holes, total, backing, hole // holes.unit)
    if hole > offset:
        for unit in range(offset // holes.unit, -(-hole // holes.unit)):
            assert unit_may_hold_data(layout, holes, total, backing, unit)


@given(LAYOUTS, SIZES, st.integers(0, 700_000), st.integers(0, 700_000))
def test_what_becomes_a_hole_lies_inside_the_range_and_before_the_last_unit(
    layout: Layout, total: int, one: int, two: int
) -> None:
    holes = HoleMap(layout)
    offset, end = sorted((one, two))
    low, high = holes.whole_units(offset, end, total)
    assert low % holes.unit == high % holes.unit == 0
    assert low <= high
    if low < high:
        assert offset <= low
        assert high <= end
        assert high <= (total - 1) // holes.unit * holes.unit
        place, length = holes.stored_range(low, high)
        assert place + length < layout.cipher_size(total)
        assert length == (high - low) // holes.unit * layout.cipher_hole


@given(LAYOUTS, st.integers(0, 600_000), st.integers(0, 600_000), st.integers(1, 300_000))
def test_a_reservation_covers_all_that_a_write_touches(
    layout: Layout, total: int, offset: int, length: int
) -> None:
    holes = HoleMap(layout)
    end = offset + length
    reserved = holes.reservation(offset, end, total)

    def covered(begin: int, stop: int) -> bool:
        return any(place <= begin and stop <= place + size for place, size in reserved)

    first, last = offset // holes.unit, (end - 1) // holes.unit
    assert covered(holes.stored_offset(first), holes.stored_offset(last + 1))
    if end >= total:
        assert covered(holes.stored_offset(last), layout.cipher_size(end))
    if not total:
        assert covered(0, 128)
    if end > total and total % holes.unit:
        begin = holes.stored_offset(total // holes.unit)
        assert covered(begin, begin + layout.cipher_hole)


@pytest.mark.parametrize("layout", [Layout(4096), XtsLayout(65536)])
def test_a_file_without_holes_is_data_to_its_end(layout: Layout) -> None:
    holes, total = HoleMap(layout), 100_000
    backing = Backing(layout.cipher_size(total), set(range(1000)))
    assert holes.next_data(5, total, backing.data_from) == 5
    assert holes.next_hole(5, total, backing.data_from, backing.hole_from) == total
