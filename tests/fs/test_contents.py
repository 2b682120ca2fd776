"""Contents under both ciphers against a plain bytearray; under AES-256-GCM also under attack."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phonevault.fs.contents.gcm_file import GcmFile
from phonevault.fs.contents.xts_file import XtsFile
from phonevault.fs.errors import FileDamaged
from phonevault.fs.format.layout import HEADER_BYTES, Layout, XtsLayout
from phonevault.fs.keys import TreeKeys

LAYOUT = Layout(4096)
XTS = XtsLayout(65536)
MAX = 1 << 17


class Contents:
    """A GcmFile with scratch memory, reopened at will."""

    def __init__(self, path: Path, keys: TreeKeys, layout: Layout = LAYOUT) -> None:
        self.path, self.keys, self.layout = path, keys, layout
        self.cipher = memoryview(bytearray(layout.scratch_bytes(MAX)))
        self.plain = memoryview(bytearray(layout.scratch_bytes(MAX)))
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.file = XtsFile(self.fd, layout) if isinstance(layout, XtsLayout) else GcmFile(self.fd, layout)

    def reopen(self) -> None:
        self.close()
        self.__init__(self.path, self.keys, self.layout)  # type: ignore[misc]

    def close(self) -> None:
        self.file.wipe()
        os.close(self.fd)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.file.read(self.keys, offset, size, self.cipher, self.plain))

    def write(self, offset: int, data: bytes) -> None:
        self.file.write(self.keys, offset, memoryview(data), self.cipher, self.plain)

    def truncate(self, size: int) -> None:
        self.file.truncate(self.keys, size, self.cipher, self.plain)


OFFSETS = st.one_of(st.integers(0, 40_000), st.sampled_from([0, 4095, 4096, 4097, 8192, 12288]))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), OFFSETS, st.integers(1, 20_000)),
        st.tuples(st.just("truncate"), OFFSETS, st.just(0)),
        st.tuples(st.just("reopen"), st.just(0), st.just(0)),
        st.tuples(st.just("read"), OFFSETS, st.integers(1, 20_000)),
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.sampled_from([LAYOUT, XTS, XtsLayout(4096)]))
def test_it_behaves_like_plain_bytes(
    keys: TreeKeys, steps: list[tuple[str, int, int]], layout: Layout
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        contents, model = Contents(Path(folder) / "f", keys, layout), bytearray()
        for step, offset, size in steps:
            if step == "write":
                data = bytes((offset + index * 7) % 251 + 1 for index in range(size))
                contents.write(offset, data)
                model.extend(bytes(max(0, offset + size - len(model))))
                model[offset : offset + size] = data
            elif step == "truncate":
                contents.truncate(offset)
                del model[offset:]
                model.extend(bytes(offset - len(model)))
            elif step == "reopen":
                contents.reopen()
            else:
                assert contents.read(offset, size) == model[offset : offset + size]
            assert contents.file.size() == len(model)
        contents.reopen()
        assert contents.read(0, MAX) == model
        assert os.path.getsize(contents.path) == layout.cipher_size(len(model))
        contents.close()


@pytest.fixture
def five_blocks(tmp_path: Path, keys: TreeKeys) -> Contents:
    contents = Contents(tmp_path / "f", keys)
    contents.write(0, bytes(range(256)) * 80)
    contents.close()
    contents.fd = -1
    return contents


def damage_found(contents: Contents) -> bool:
    fresh = Contents(contents.path, contents.keys)
    try:
        fresh.read(0, MAX)
    except FileDamaged as error:
        assert error.errno == errno.EIO
        return True
    finally:
        fresh.close()
    return False


def test_every_flipped_bit_is_found(five_blocks: Contents) -> None:
    raw = five_blocks.path.read_bytes()
    padding = range(40 + 32 + 16, HEADER_BYTES)
    for place in [*range(HEADER_BYTES), *range(HEADER_BYTES, len(raw), 509)]:
        changed = bytearray(raw)
        changed[place] ^= 1
        five_blocks.path.write_bytes(changed)
        assert damage_found(five_blocks), place
    assert padding


def test_swapped_blocks_are_found(five_blocks: Contents) -> None:
    raw = five_blocks.path.read_bytes()
    one, two, three = (LAYOUT.offset_of(block) for block in (0, 1, 2))
    five_blocks.path.write_bytes(raw[:one] + raw[two:three] + raw[one:two] + raw[three:])
    assert damage_found(five_blocks)


def test_a_file_cut_at_a_block_border_is_found(five_blocks: Contents) -> None:
    raw = five_blocks.path.read_bytes()
    for blocks in (1, 2, 3, 4):
        five_blocks.path.write_bytes(raw[: LAYOUT.offset_of(blocks)])
        assert damage_found(five_blocks), blocks


def test_zeroed_blocks_are_found_where_the_file_never_had_holes(five_blocks: Contents) -> None:
    raw = bytearray(five_blocks.path.read_bytes())
    raw[LAYOUT.offset_of(1) : LAYOUT.offset_of(2)] = bytes(LAYOUT.cipher_block)
    five_blocks.path.write_bytes(raw)
    assert damage_found(five_blocks)


def test_blocks_of_another_file_are_found(five_blocks: Contents, tmp_path: Path) -> None:
    other = Contents(tmp_path / "other", five_blocks.keys)
    other.write(0, bytes(range(256)) * 80)
    other.close()
    raw, foreign = five_blocks.path.read_bytes(), other.path.read_bytes()
    place = LAYOUT.offset_of(2)
    five_blocks.path.write_bytes(raw[:place] + foreign[place:])
    assert damage_found(five_blocks)
    five_blocks.path.write_bytes(foreign[:HEADER_BYTES] + raw[HEADER_BYTES:])
    assert damage_found(five_blocks)


def test_holes_take_no_room_and_read_as_zeros(tmp_path: Path, keys: TreeKeys) -> None:
    contents = Contents(tmp_path / "f", keys)
    contents.truncate(1 << 30)
    assert contents.path.stat().st_blocks * 512 < 1 << 20
    assert contents.read(12345, 1000) == bytes(1000)
    contents.write(1 << 20, b"here")
    contents.reopen()
    assert contents.read((1 << 20) - 2, 8) == b"\0\0here\0\0"
    contents.close()


@pytest.mark.parametrize("size", [8192, 8300, 7000, 1])
def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, keys: TreeKeys, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    contents = Contents(tmp_path / "f", keys)
    contents.write(0, b"a" * size)
    real, room = os.pwrite, LAYOUT.cipher_size(8192) + 1000

    def full_disk(fd: int, data: bytes, offset: int) -> int:
        if offset + len(data) > room:
            if offset < room:
                return real(fd, data[: room - offset], offset)
            raise OSError(errno.ENOSPC, "no space")
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", full_disk)
    with pytest.raises(OSError, match="no space"):
        contents.write(size, b"b" * 40000)
    monkeypatch.undo()
    contents.reopen()
    assert contents.read(0, MAX) == b"a" * size
    contents.close()
