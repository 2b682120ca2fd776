"""Runs of whole blocks under AES-256-GCM: what they write and what they find, beside what goes block by block."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from phonevault.fs.contents.block_run import BlockRun, block_run
from phonevault.fs.contents.gcm_file import GcmFile
from phonevault.fs.errors import FileDamaged
from phonevault.fs.format.layout import NONCE_BYTES, Layout
from phonevault.fs.keys import TreeKeys

BLOCK = 4096
LAYOUT = Layout(BLOCK)
BLOCKS = 40
FILE_ID = bytes(range(16))


def _buffers(blocks: int) -> tuple[memoryview, memoryview]:
    return memoryview(bytearray(blocks * LAYOUT.cipher_block)), memoryview(bytearray(blocks * BLOCK))


def _nonces(blocks: int) -> bytearray:
    return bytearray(os.urandom(blocks * NONCE_BYTES))


def test_each_block_is_sealed_under_its_number_and_its_own_nonce() -> None:
    aead, data, nonces = AESGCM(bytes(32)), os.urandom(5 * BLOCK), _nonces(5)
    cipher, plain = _buffers(5)
    BlockRun(cipher, plain, LAYOUT).seal(aead, FILE_ID, 7, 5, memoryview(data), nonces)
    for block in range(5):
        stored = bytes(cipher[block * LAYOUT.cipher_block : (block + 1) * LAYOUT.cipher_block])
        assert stored[:NONCE_BYTES] == nonces[block * NONCE_BYTES : (block + 1) * NONCE_BYTES]
        number = FILE_ID + (7 + block).to_bytes(8, "little")
        opened = aead.decrypt(stored[:NONCE_BYTES], stored[NONCE_BYTES:], number)
        assert opened == data[block * BLOCK : (block + 1) * BLOCK]


def test_blocks_may_stand_behind_a_header() -> None:
    aead, data = AESGCM(bytes(32)), os.urandom(3 * BLOCK)
    cipher, plain = _buffers(4)
    cipher[:128] = b"h" * 128
    BlockRun(cipher, plain, LAYOUT, 128).seal(aead, FILE_ID, 0, 3, memoryview(data), _nonces(3))
    assert bytes(cipher[:128]) == b"h" * 128
    behind, _ = _buffers(3)
    behind[:] = cipher[128 : 128 + len(behind)]
    run = BlockRun(behind, plain, LAYOUT)
    run.open(aead, FILE_ID, 0, 3)
    assert bytes(plain[: 3 * BLOCK]) == data


def test_what_was_sealed_opens_only_where_it_was() -> None:
    aead, data = AESGCM(bytes(32)), os.urandom(5 * BLOCK)
    cipher, plain = _buffers(6)
    run = BlockRun(cipher, plain, LAYOUT)
    run.seal(aead, FILE_ID, 7, 5, memoryview(data), _nonces(6))
    run.open(aead, FILE_ID, 7, 5)
    assert bytes(plain[: 5 * BLOCK]) == data
    for number, file_id in ((8, FILE_ID), (7, bytes(16))):
        with pytest.raises(InvalidTag):
            run.open(aead, file_id, number, 5)


def test_more_than_fits_is_refused_and_not_left_out() -> None:
    aead = AESGCM(bytes(32))
    run = BlockRun(*_buffers(3), LAYOUT)
    with pytest.raises(ValueError, match="more blocks"):
        run.seal(aead, FILE_ID, 0, 4, memoryview(bytes(4 * BLOCK)), _nonces(4))
    with pytest.raises(ValueError, match="more blocks"):
        run.open(aead, FILE_ID, 0, 4)


def test_blocks_that_are_not_given_are_refused_and_not_left_as_they_were() -> None:
    run = BlockRun(*_buffers(4), LAYOUT)
    for blocks, nonces in ((3, 4), (4, 3)):
        with pytest.raises(ValueError, match="fewer"):
            run.seal(AESGCM(bytes(32)), FILE_ID, 0, 4, memoryview(bytes(blocks * BLOCK)), _nonces(nonces))


def test_slices_are_those_of_the_buffers_given() -> None:
    first, second = _buffers(4), _buffers(4)
    run = block_run(*first, LAYOUT)
    assert block_run(*first, LAYOUT) is run
    assert block_run(*second, LAYOUT).cipher is second[0]
    assert block_run(first[0], second[1], LAYOUT).plain is second[1]
    assert block_run(first[0], second[1], Layout(2 * BLOCK)).block_size == 2 * BLOCK
    run = block_run(*second, LAYOUT)
    assert block_run(*second, LAYOUT, 128) is not run
    assert block_run(*second, LAYOUT) is run
    elsewhere: list[BlockRun] = []
    here = block_run(*first, LAYOUT)
    thread = threading.Thread(target=lambda: elsewhere.append(block_run(*first, LAYOUT)))
    thread.start()
    thread.join()
    assert elsewhere[0] is not here


class _Open:
    """A file with scratch memory for a request of :data:`BLOCKS` blocks."""

    def __init__(self, path: Path, keys: TreeKeys) -> None:
        self.keys = keys
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.file = GcmFile(self.fd, LAYOUT)
        size = LAYOUT.scratch_bytes(BLOCKS * BLOCK)
        self.scratch = memoryview(bytearray(size)), memoryview(bytearray(size))

    def __enter__(self) -> _Open:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.wipe()
        os.close(self.fd)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.file.read(self.keys, offset, size, *self.scratch))

    def write(self, offset: int, data: bytes) -> None:
        self.file.write(self.keys, offset, memoryview(data), *self.scratch)


def _stored_nonces(path: Path) -> list[bytes]:
    raw = path.read_bytes()
    starts = range(LAYOUT.offset_of(0), len(raw), LAYOUT.cipher_block)
    return [raw[start : start + NONCE_BYTES] for start in starts]


def test_only_the_last_block_is_marked_and_no_nonce_comes_twice(tmp_path: Path, keys: TreeKeys) -> None:
    path, seen = tmp_path / "f", set()
    with _Open(path, keys) as opened:
        opened.write(0, os.urandom(BLOCK))
        for _ in range(20):
            opened.write(BLOCK, os.urandom((BLOCKS - 1) * BLOCK))
            nonces = _stored_nonces(path)[1:]  # the first one was the last of the file once, and stays marked
            assert [nonce[0] & 1 for nonce in nonces] == [0] * (BLOCKS - 2) + [1]
            seen.update(nonces)
    assert len(seen) == 20 * (BLOCKS - 1)
    first_bytes = {nonce[0] for nonce in seen}
    assert len(first_bytes) > 64, "all but the last bit is random"


@pytest.mark.parametrize("size", [BLOCKS * BLOCK, BLOCKS * BLOCK - 1, (BLOCKS - 1) * BLOCK + 1])
@pytest.mark.parametrize(
    ("offset", "length"), [(0, 1 << 30), (BLOCK, 9 * BLOCK), (100, 9 * BLOCK), (3 * BLOCK, 1 << 30)]
)
def test_runs_at_every_place_agree_with_a_copy(
    tmp_path: Path, keys: TreeKeys, size: int, offset: int, length: int
) -> None:
    model = bytearray(os.urandom(size))
    with _Open(tmp_path / "f", keys) as opened:
        opened.write(0, bytes(model))
        part = os.urandom(min(length, size - offset))
        opened.write(offset, part)
        model[offset : offset + len(part)] = part
        assert opened.read(0, size) == model
        assert opened.read(offset, length) == model[offset:][:length]
        assert opened.read(1, size) == model[1:]


@pytest.mark.parametrize("block", [0, 1, 17, BLOCKS - 2, BLOCKS - 1])
def test_the_block_that_was_changed_is_named(
    tmp_path: Path, keys: TreeKeys, caplog: pytest.LogCaptureFixture, block: int
) -> None:
    path = tmp_path / "f"
    with _Open(path, keys) as opened:
        opened.write(0, os.urandom(BLOCKS * BLOCK))
        place = LAYOUT.offset_of(block) + NONCE_BYTES + 100
        changed = bytes([os.pread(opened.fd, 1, place)[0] ^ 1])
        os.pwrite(opened.fd, changed, place)
        with pytest.raises(FileDamaged, match=f"block {block} does not open"):
            opened.read(0, BLOCKS * BLOCK)
        assert f"block {block} does not open" in caplog.text


def test_a_file_cut_below_while_it_is_open_is_found(tmp_path: Path, keys: TreeKeys) -> None:
    path = tmp_path / "f"
    with _Open(path, keys) as opened:
        opened.write(0, os.urandom(BLOCKS * BLOCK))
        os.truncate(path, LAYOUT.offset_of(BLOCKS - 5))
        with pytest.raises(FileDamaged, match=f"block {BLOCKS - 5} is missing"):
            opened.read(0, BLOCKS * BLOCK)
