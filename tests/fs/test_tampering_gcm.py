"""docs/threat-model.md 4, "Contents, AES-256-GCM": each row done to the ciphertext between two mounts."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.sparse_files import outcome
from support.tampering import (
    BLOCK,
    STORED,
    TamperedTree,
    block_of,
    flipped,
    lettered,
    letters,
    reordered,
    rewrite,
    tampered_tree,
)

from phonevault.fs.format.layout import HEADER_BYTES, OVERHEAD_BYTES

pytestmark = [pytest.mark.mount, pytest.mark.anyone]

WHOLE_FILE_EIO: list[object] = [os.strerror(errno.EIO)]


@pytest.fixture
def tree(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[TamperedTree]:
    with tampered_tree(tmp_path, "aes-256-gcm") as found:
        yield found
    assert "Traceback" not in capfd.readouterr().err


def many(
    tree: TamperedTree, changes: dict[str, Callable[[bytes], bytes]], content: bytes = lettered(3, 1000)
) -> None:
    """A file of that content for each change, changed."""
    for name in changes:
        (tree.path / name).write_bytes(content)
    with tree.while_away() as stored:
        for name, change in changes.items():
            rewrite(stored(name), change)


def test_any_bit_of_the_header(tree: TamperedTree) -> None:
    many(tree, {f"{place}": flipped(place, place % 8) for place in range(HEADER_BYTES)})
    for place in range(HEADER_BYTES):
        assert tree.blocks(f"{place}") == letters("!!!!"), place
        assert (tree.path / f"{place}").stat().st_size == 3 * BLOCK + 1000


PLACES = {
    "end bit": 0,
    "nonce": 1,
    "nonce end": 11,
    "first byte": 12,
    "inside": 500,
    "tag": -16,
    "tag end": -1,
}


def test_any_bit_of_a_block(tree: TamperedTree) -> None:
    changes, expected = {}, {}
    for block, seen in enumerate(["!BCD", "A!CD", "AB!D", "ABC!"]):
        for place, within in PLACES.items():
            length = STORED if block < 3 else 1000 + OVERHEAD_BYTES
            name = f"{place} of {block}"
            changes[name] = flipped(HEADER_BYTES + block * STORED + within % length)
            expected[name] = letters(seen)
    many(tree, changes)
    for name, seen in expected.items():
        assert tree.blocks(name) == seen, name


def test_blocks_exchanged_moved_and_copied(tree: TamperedTree) -> None:
    (tree.path / "other").write_bytes(lettered(3, 1000).lower())
    moves = {"exchanged": ([1, 0, 2, 3], "!!CD"), "copied": ([0, 1, 1, 3], "AB!D"), "turned": ([1, 2, 0, 3], "!!!D"),
             "copied from the end": ([0, 1, 2, 2], "ABC!"), "one less": ([0, 2, 3], "A!!")}  # fmt: skip
    for name in [*moves, "foreign block", "foreign last", "foreign header", "foreign tail"]:
        (tree.path / name).write_bytes(lettered(3, 1000))
    with tree.while_away() as stored:
        other = stored("other").read_bytes()
        for name, (order, _) in moves.items():
            rewrite(stored(name), lambda raw: reordered(raw, order))  # noqa: B023
        place = HEADER_BYTES + STORED
        rewrite(stored("foreign block"), lambda raw: raw[:place] + block_of(other, 1) + raw[place + STORED :])
        rewrite(stored("foreign last"), lambda raw: raw[: HEADER_BYTES + 3 * STORED] + block_of(other, 3))
        rewrite(stored("foreign header"), lambda raw: other[:HEADER_BYTES] + raw[HEADER_BYTES:])
        rewrite(stored("foreign tail"), lambda raw: raw[:place] + other[place:])
    for name, (_, seen) in moves.items():
        assert tree.blocks(name) == letters(seen), name
    assert tree.blocks("foreign block") == letters("A!CD")
    assert tree.blocks("foreign last") == letters("ABC!")
    assert tree.blocks("foreign header") == letters("!!!!")
    assert tree.blocks("foreign tail") == letters("A!!!")


def test_cut_at_and_inside_every_block_border(tree: TamperedTree) -> None:
    content = lettered(3, 1000)
    cuts = {}
    for block, whole in enumerate(["", "A", "AB", "ABC"]):
        for rest in (0, 1, 12, OVERHEAD_BYTES, OVERHEAD_BYTES + 1, 500, 1000 + OVERHEAD_BYTES - 1):
            seen = whole + "!" if rest > OVERHEAD_BYTES else whole[:-1] + "!"
            if block or rest > OVERHEAD_BYTES:
                cuts[f"{block} and {rest}"] = (HEADER_BYTES + block * STORED + rest, seen)
    many(tree, {name: lambda raw, at=length: raw[:at] for name, (length, _) in cuts.items()}, content)  # type: ignore[misc]
    for name, (_, seen) in cuts.items():
        assert tree.blocks(name) == letters(seen), name


def test_cut_to_less_than_a_block_is_no_empty_file(tree: TamperedTree) -> None:
    lengths = [*range(1, HEADER_BYTES), *range(HEADER_BYTES + 1, HEADER_BYTES + OVERHEAD_BYTES + 1)]
    many(
        tree,
        {f"{length}": lambda raw, at=length: raw[:at] for length in [*lengths, 0, HEADER_BYTES]},
        b"text",
    )  # type: ignore[misc]
    for length in lengths:
        path = tree.path / f"{length}"
        assert tree.blocks(path.name) == WHOLE_FILE_EIO, length
        assert outcome(lambda: os.truncate(path, 10)) == "EIO"  # noqa: B023
        with path.open("wb") as file:
            file.write(b"made anew")
        assert path.read_bytes() == b"made anew"
    for length in (0, HEADER_BYTES):
        assert (tree.path / f"{length}").read_bytes() == b"", "silent"


def test_a_cut_file_is_not_made_whole_by_writing_on(tree: TamperedTree) -> None:
    writes: dict[str, Callable[[int], object]] = {
        "append": lambda fd: os.pwrite(fd, b"x" * 10, 2 * BLOCK),
        "append much": lambda fd: os.pwrite(fd, b"x" * 3 * BLOCK, 2 * BLOCK),
        "last block": lambda fd: os.pwrite(fd, b"x" * BLOCK, BLOCK),
        "last block and more": lambda fd: os.pwrite(fd, b"x" * 2 * BLOCK, BLOCK),
        "far behind": lambda fd: os.pwrite(fd, b"x" * 10, 9 * BLOCK),
        "lengthen": lambda fd: os.ftruncate(fd, 5 * BLOCK),
    }
    many(tree, dict.fromkeys(writes, lambda raw: raw[: HEADER_BYTES + 2 * STORED]))
    for name, write in writes.items():
        fd = os.open(tree.path / name, os.O_RDWR)
        assert "EIO" in (outcome(lambda: write(fd)), outcome(lambda: os.fsync(fd))), name  # noqa: B023
        os.close(fd)
    tree.mount.remount()
    for name in writes:
        assert tree.blocks(name) == letters("A!"), name


def test_cut_where_the_file_once_ended_is_a_rollback(tree: TamperedTree) -> None:
    path = tree.path / "f"
    path.write_bytes(lettered(2))
    tree.mount.remount()
    with path.open("ab") as file:
        file.write(b"CCCC")
    tree.change("f", lambda raw: raw[: HEADER_BYTES + 2 * STORED])
    assert tree.blocks("f") == letters("AB"), "silent"


def test_blocks_appended(tree: TamperedTree) -> None:
    content = lettered(2)
    changes: dict[str, tuple[Callable[[bytes], bytes], str]] = {
        "zeros": (lambda raw: raw + bytes(STORED), "AB!"),
        "noise": (lambda raw: raw + os.urandom(2 * STORED), "AB!!"),
        "its own": (lambda raw: raw + block_of(raw, 1), "AB!"),
        "a part": (lambda raw: raw + os.urandom(100), "AB!"),
        "a few bytes": (lambda raw: raw + bytes(OVERHEAD_BYTES), "AB"),
    }
    for name in changes:
        (tree.path / name).write_bytes(content)
    (tree.path / "longer once").write_bytes(lettered(4))
    with tree.while_away() as stored:
        older = stored("longer once").read_bytes()
        for name, (change, _) in changes.items():
            rewrite(stored(name), change)
    for name, (_, seen) in changes.items():
        assert tree.blocks(name) == letters(seen), name
    os.truncate(tree.path / "longer once", 2 * BLOCK)
    tree.change("longer once", lambda raw: raw + older[len(raw) :])
    assert tree.blocks("longer once") == letters("ABCD"), "silent: a rollback"


def test_older_versions_of_blocks_and_files_are_taken(tree: TamperedTree) -> None:
    one = HEADER_BYTES + STORED
    for name in ("block", "file", "other"):
        (tree.path / name).write_bytes(lettered(3))
    with tree.while_away() as stored:
        old = {name: stored(name).read_bytes() for name in ("block", "file", "other")}
    for name in ("block", "file"):
        with (tree.path / name).open("r+b") as file:
            file.write(lettered(3).lower())
    with tree.while_away() as stored:
        rewrite(stored("block"), lambda raw: raw[:one] + block_of(old["block"], 1) + raw[one + STORED :])
        stored("file").write_bytes(old["file"])
        stored("other").write_bytes(stored("block").read_bytes())
    assert tree.blocks("block") == letters("aBc"), "silent"
    assert tree.blocks("file") == letters("ABC"), "silent"
    assert tree.blocks("other") == letters("aBc"), "silent"


def test_blocks_set_to_zeros(tree: TamperedTree) -> None:
    def zeroed(number: int) -> Callable[[bytes], bytes]:
        def change(raw: bytes) -> bytes:
            start = HEADER_BYTES + number * STORED
            stop = min(start + STORED, len(raw))
            return raw[:start] + bytes(stop - start) + raw[stop:]

        return change

    for name in ("dense inner", "dense last"):
        (tree.path / name).write_bytes(lettered(3, 50))
    for name in ("sparse inner", "sparse last"):
        with (tree.path / name).open("wb") as file:
            file.write(lettered(3))
            file.seek(6 * BLOCK)
            file.write(b"G" * BLOCK)
    with tree.while_away() as stored:
        rewrite(stored("dense inner"), zeroed(1))
        rewrite(stored("dense last"), zeroed(3))
        rewrite(stored("sparse inner"), zeroed(1))
        rewrite(stored("sparse last"), zeroed(6))
    assert tree.blocks("dense inner") == letters("A!CD")
    assert tree.blocks("dense last") == letters("ABC!")
    assert tree.blocks("sparse inner") == letters("A0C000G"), "silent: a hole"
    assert tree.blocks("sparse last") == letters("ABC000!")


def test_a_read_across_a_damaged_block_gives_nothing_of_it(tree: TamperedTree) -> None:
    (tree.path / "f").write_bytes(lettered(8))
    tree.change("f", flipped(HEADER_BYTES + 5 * STORED + 100))
    with (tree.path / "f").open("rb", buffering=0) as file:
        first = file.read(8 * BLOCK)
        assert first == lettered(8)[: len(first)]
        assert len(first) <= 5 * BLOCK
        file.seek(5 * BLOCK)
        assert outcome(lambda: file.read(10)) == "EIO"
    with (tree.path / "copy").open("wb") as target, (tree.path / "f").open("rb") as source:
        done = outcome(lambda: os.copy_file_range(source.fileno(), target.fileno(), 8 * BLOCK))
    assert done == "EIO" or (tree.path / "copy").read_bytes() == lettered(8)[:done]  # type: ignore[misc]
