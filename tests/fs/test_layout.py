"""The arithmetic of contents under both ciphers (docs/format.md 4.1, 4.2), for every block size that a header allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonevault.fs.format.hole_map import HoleMap
from phonevault.fs.format.layout import AES_BLOCK_BYTES, HEADER_BYTES, OVERHEAD_BYTES, Layout, XtsLayout

GCM_SIZES = [1 << log2 for log2 in range(12, 17)]
XTS_SIZES = [1 << log2 for log2 in range(12, 21)]
GCM = st.sampled_from([Layout(size) for size in GCM_SIZES])
XTS = st.sampled_from([XtsLayout(size) for size in XTS_SIZES])
LAYOUTS = st.one_of(GCM, XTS)
SIZES = st.one_of(st.integers(0, 1 << 45), st.integers(0, 1 << 18), st.integers(0, 40))
LENGTHS = st.one_of(st.integers(0, 1 << 45), st.integers(0, 1 << 18), st.integers(0, HEADER_BYTES + 70))


@given(LAYOUTS, SIZES)
def test_the_size_is_known_from_the_length_alone(layout: Layout, size: int) -> None:
    assert layout.plain_size(layout.cipher_size(size)) == size
    assert not layout.torn(layout.cipher_size(size))


MORE = st.one_of(st.integers(1, 40), st.integers(1, 100_000))


@given(GCM, SIZES, MORE)
def test_a_longer_gcm_file_has_a_longer_ciphertext(layout: Layout, size: int, more: int) -> None:
    assert layout.cipher_size(size + more) > layout.cipher_size(size)


@given(XTS, SIZES.filter(bool), MORE)
def test_xts_gets_shorter_only_where_the_filler_goes(layout: XtsLayout, size: int, more: int) -> None:
    change = layout.cipher_size(size + more) - layout.cipher_size(size)
    filler = size % AES_BLOCK_BYTES
    assert change >= more - (AES_BLOCK_BYTES if filler else 0)
    if filler and filler + more == AES_BLOCK_BYTES:
        assert change == more - AES_BLOCK_BYTES
    assert change != 0


@given(GCM, LENGTHS, MORE)
def test_gcm_sizes_grow_with_the_length(layout: Layout, length: int, more: int) -> None:
    assert layout.plain_size(length + more) >= layout.plain_size(length)


@given(LAYOUTS, LENGTHS)
def test_every_length_has_a_size_and_torn_ones_are_known(layout: Layout, length: int) -> None:
    size = layout.plain_size(length)
    assert size >= 0
    assert layout.torn(length) == (layout.cipher_size(size) != length)


@given(GCM, st.integers(1, 1 << 30))
def test_the_last_block_ends_the_file(layout: Layout, size: int) -> None:
    last = layout.blocks_of(size) - 1
    rest = size - last * layout.block_size
    assert 0 < rest <= layout.block_size
    assert layout.offset_of(last) + rest + OVERHEAD_BYTES == layout.cipher_size(size)
    assert layout.offset_of(0) == HEADER_BYTES


@given(XTS, SIZES)
def test_xts_stores_whole_aes_blocks_and_as_many_filler_bytes_as_the_last_one_holds(
    layout: XtsLayout, size: int
) -> None:
    body = layout.cipher_size(size) - HEADER_BYTES if size else 0
    rest = size % AES_BLOCK_BYTES
    assert body == size // AES_BLOCK_BYTES * AES_BLOCK_BYTES + (AES_BLOCK_BYTES + rest if rest else 0)
    assert body % AES_BLOCK_BYTES == rest


@given(XTS, st.integers(1, 1 << 20))
def test_every_xts_length_with_at_least_one_aes_block_is_one_of_a_file(layout: XtsLayout, body: int) -> None:
    assert layout.torn(HEADER_BYTES + body) == (body < AES_BLOCK_BYTES)


@pytest.mark.parametrize("layout", [Layout(4096), XtsLayout(4096), XtsLayout(1 << 20)])
def test_no_length_up_to_a_header_alone_is_one_of_a_file(layout: Layout) -> None:
    for length in range(1, HEADER_BYTES + 1):
        assert layout.torn(length)
        assert layout.plain_size(length) == 0
    assert not layout.torn(0)


@given(LAYOUTS, st.integers(1, 1 << 20), st.integers(0, 1 << 30))
def test_scratch_memory_holds_any_request(layout: Layout, request_bytes: int, offset: int) -> None:
    first, last = offset // layout.block_size, (offset + request_bytes - 1) // layout.block_size
    room = layout.scratch_bytes(request_bytes)
    if isinstance(layout, XtsLayout):
        assert room >= offset % layout.block_size + request_bytes + 2 * AES_BLOCK_BYTES
    else:
        assert room >= HEADER_BYTES + (last - first + 1) * layout.cipher_block
        assert room >= (last - first + 1) * layout.block_size


@given(LAYOUTS, SIZES, SIZES, st.integers(1, 1 << 20))
def test_reservations_lie_in_the_ciphertext_of_the_longer_file(
    layout: Layout, total: int, offset: int, length: int
) -> None:
    holes, end = HoleMap(layout), offset + length
    reserved = holes.reservation(offset, end, total)
    limit = max(holes.stored_offset(-(-end // holes.unit)), layout.cipher_size(end))
    for place, size in reserved:
        assert place >= 0
        assert size > 0
        assert place + size <= limit
    assert sum(size for _, size in reserved) <= length + len(reserved) * (2 * layout.cipher_hole + 300) + (
        OVERHEAD_BYTES * (length // layout.block_size + 1)
    )
