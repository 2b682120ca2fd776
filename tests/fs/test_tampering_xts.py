"""docs/threat-model.md 4, "Contents, AES-256-XTS": each row done to the ciphertext between two mounts."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.sparse_files import outcome
from support.tampering import TamperedTree, flipped, rewrite, tampered_tree

from phonevault.fs.format.layout import HEADER_BYTES

pytestmark = [pytest.mark.mount, pytest.mark.anyone]

AES, PAGE = 16, 4096
CONTENT = bytes(range(256)) * 40


@pytest.fixture
def tree(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[TamperedTree]:
    with tampered_tree(tmp_path, "aes-256-xts") as found:
        yield found
    assert "Traceback" not in capfd.readouterr().err


def changed_blocks(tree: TamperedTree, name: str, content: bytes = CONTENT) -> list[int]:
    """The 16-byte blocks that differ from what was written."""
    now = (tree.path / name).read_bytes()
    assert len(now) == len(content)
    return [place // AES for place in range(0, len(now), AES) if now[place : place + AES] != content[place : place + AES]]  # fmt: skip


def test_any_bit_of_the_header(tree: TamperedTree) -> None:
    for place in range(HEADER_BYTES):
        (tree.path / f"{place}").write_bytes(CONTENT)
    with tree.while_away() as stored:
        for place in range(HEADER_BYTES):
            rewrite(stored(f"{place}"), flipped(place, place % 8))
    for place in range(HEADER_BYTES):
        assert outcome(lambda: (tree.path / f"{place}").read_bytes()) == "EIO", place  # noqa: B023


def test_changed_data_is_noise_there_and_nowhere_else(tree: TamperedTree) -> None:
    places = [0, 15, 16, 4095, 4096, len(CONTENT) - 1]
    for place in places:
        (tree.path / f"{place}").write_bytes(CONTENT)
    with tree.while_away() as stored:
        for place in places:
            rewrite(stored(f"{place}"), flipped(HEADER_BYTES + place))
    for place in places:
        assert changed_blocks(tree, f"{place}") == [place // AES], "silent"


def test_older_and_moved_blocks(tree: TamperedTree) -> None:
    for name in ("older", "moved", "foreign header"):
        (tree.path / name).write_bytes(CONTENT)
    with tree.while_away() as stored:
        old = stored("older").read_bytes()
    with (tree.path / "older").open("r+b") as file:
        file.write(b"x" * 64)
    one, two = HEADER_BYTES + AES, HEADER_BYTES + 2 * AES
    with tree.while_away() as stored:
        rewrite(stored("older"), lambda raw: raw[:one] + old[one:two] + raw[two:])
        rewrite(
            stored("moved"), lambda raw: raw[:one] + raw[two : two + AES] + raw[one:two] + raw[two + AES :]
        )
        rewrite(stored("foreign header"), lambda raw: old[:HEADER_BYTES] + raw[HEADER_BYTES:])
    assert changed_blocks(tree, "older") == [0, 2, 3], "silent: block 1 is as it was"
    assert changed_blocks(tree, "moved") == [1, 2], "silent: noise"
    assert len(changed_blocks(tree, "foreign header")) == len(CONTENT) // AES, "silent: noise"


def test_cut_and_lengthened(tree: TamperedTree) -> None:
    lengths = {
        HEADER_BYTES + 160: 160,
        HEADER_BYTES + 16 + 5: 5,
        HEADER_BYTES + 16: 16,
        HEADER_BYTES + 4096 + 3: 4083,
    }
    for length in [*lengths, "longer"]:
        (tree.path / f"{length}").write_bytes(CONTENT)
    with tree.while_away() as stored:
        for length in lengths:
            rewrite(stored(f"{length}"), lambda raw: raw[:length])  # noqa: B023
        rewrite(stored("longer"), lambda raw: raw + os.urandom(100 * AES))
    for length, size in lengths.items():
        found = (tree.path / f"{length}").read_bytes()
        assert len(found) == size
        kept = size // AES * AES
        assert found[:kept] == CONTENT[:kept], "silent"
    longer = (tree.path / "longer").read_bytes()
    assert longer[: len(CONTENT)] == CONTENT
    assert len(longer) == len(CONTENT) + 100 * AES, "silent"


def test_cut_to_less_than_an_aes_block_is_no_empty_file(tree: TamperedTree) -> None:
    lengths = [*range(1, HEADER_BYTES), *range(HEADER_BYTES + 1, HEADER_BYTES + AES)]
    for length in [*lengths, 0, HEADER_BYTES]:
        (tree.path / f"{length}").write_bytes(b"text")
    with tree.while_away() as stored:
        for length in [*lengths, 0, HEADER_BYTES]:
            rewrite(stored(f"{length}"), lambda raw: raw[:length])  # noqa: B023
    for length in lengths:
        path = tree.path / f"{length}"
        assert outcome(path.read_bytes) == "EIO", length
        with path.open("wb") as file:
            file.write(b"made anew")
        assert path.read_bytes() == b"made anew"
    for length in (0, HEADER_BYTES):
        assert (tree.path / f"{length}").read_bytes() == b"", "silent"


def test_pages_of_zeros(tree: TamperedTree) -> None:
    content = b"x" * 4 * PAGE
    (tree.path / "dense").write_bytes(content)
    with (tree.path / "sparse").open("wb") as file:
        file.write(content)
        file.seek(8 * PAGE)
        file.write(b"end")
    zeros = HEADER_BYTES + PAGE
    with tree.while_away() as stored:
        for name in ("dense", "sparse"):
            rewrite(stored(name), lambda raw: raw[:zeros] + bytes(PAGE) + raw[zeros + PAGE :])
    assert changed_blocks(tree, "dense", content) == list(range(PAGE // AES, 2 * PAGE // AES)), (
        "silent: noise"
    )
    assert (tree.path / "dense").read_bytes()[PAGE : 2 * PAGE] != bytes(PAGE)
    found = (tree.path / "sparse").read_bytes()
    assert found == b"x" * PAGE + bytes(PAGE) + b"x" * 2 * PAGE + bytes(4 * PAGE) + b"end", "silent: a hole"


def test_a_file_of_the_other_cipher(tree: TamperedTree, tmp_path: Path) -> None:
    (tree.path / "f").write_bytes(CONTENT)
    with tampered_tree(tmp_path / "gcm", "aes-256-gcm") as other:
        (other.path / "f").write_bytes(CONTENT)
        with other.while_away() as stored:
            foreign = stored("f").read_bytes()
    tree.change("f", lambda raw: foreign)
    with pytest.raises(OSError) as caught:
        (tree.path / "f").read_bytes()
    assert caught.value.errno == errno.EIO
