"""The arithmetic of AES-256-GCM contents (docs/format.md 4.1)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from phonevault.fs.format.layout import HEADER_BYTES, OVERHEAD_BYTES, Layout, XtsLayout

BLOCK_SIZES = st.sampled_from([4096, 8192, 65536])


@given(BLOCK_SIZES, st.integers(0, 1 << 45))
def test_the_size_is_known_from_the_length_alone(block_size: int, size: int) -> None:
    layout = Layout(block_size)
    assert layout.plain_size(layout.cipher_size(size)) == size
    assert not layout.torn(layout.cipher_size(size))


@given(BLOCK_SIZES, st.integers(0, 1 << 30))
def test_every_length_has_a_size_and_torn_ones_are_known(block_size: int, length: int) -> None:
    layout = Layout(block_size)
    size = layout.plain_size(length)
    assert size >= 0
    assert layout.torn(length) == (layout.cipher_size(size) != length)


@given(BLOCK_SIZES, st.integers(1, 1 << 30))
def test_the_last_block_ends_the_file(block_size: int, size: int) -> None:
    layout = Layout(block_size)
    last = layout.blocks_of(size) - 1
    rest = size - last * block_size
    assert 0 < rest <= block_size
    assert layout.offset_of(last) + rest + OVERHEAD_BYTES == layout.cipher_size(size)
    assert layout.offset_of(0) == HEADER_BYTES


@given(st.integers(0, 1 << 45))
def test_xts_keeps_the_length_but_for_the_last_block(size: int) -> None:
    layout = XtsLayout(65536)
    length = layout.cipher_size(size)
    assert layout.plain_size(length) == size
    assert not layout.torn(length)
    assert size == 0 or 0 <= length - HEADER_BYTES - size <= 16
