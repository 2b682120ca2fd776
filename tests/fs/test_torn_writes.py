"""Each change of a file, stopped at every point where the kernel can stop it: nothing that was there before is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.stopping import FaultInjector, killed_at, refuse

from phonevault.fs.contents.gcm_file import GcmFile
from phonevault.fs.contents.sparse_file import SparseFile
from phonevault.fs.contents.xts_file import XtsFile
from phonevault.fs.format.layout import Layout, XtsLayout
from phonevault.fs.journal import Journal, open_journal, volatile_journal
from phonevault.fs.keys import TreeKeys
from phonevault.fs.recovery import recover

LAYOUTS = [Layout(4096), XtsLayout(65536)]
SCRATCH = 1 << 18


class Vault:
    """A tree with one file, without names and mounts."""

    def __init__(self, base: Path, keys: TreeKeys, layout: Layout) -> None:
        self.base, self.keys, self.layout = base, keys, layout
        self.tree = base / "tree"
        self.path = self.tree / "below" / "file"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()

    def act(self, steps: list[Step], journal: Journal | None = None) -> bytes:
        """Take steps on the file, and return what it reads as then."""
        fd = os.open(self.path, os.O_RDWR)
        kind = XtsFile if isinstance(self.layout, XtsLayout) else GcmFile
        contents = kind(fd, self.layout, False, journal)
        scratch = [memoryview(bytearray(self.layout.scratch_bytes(SCRATCH))) for _ in range(2)]
        try:
            for step in steps:
                step(contents, self.keys, *scratch)
            return bytes(contents.read(self.keys, 0, SCRATCH, *scratch))
        finally:
            contents.wipe()
            os.close(fd)

    def read(self) -> bytes:
        return self.act([])

    def journal(self) -> Journal:
        return open_journal(self.base / "journal", self.layout.scratch_bytes(SCRATCH))

    def recover(self) -> int:
        return recover(self.base / "journal", self.tree).put_back


Step = Callable[[SparseFile, TreeKeys, memoryview, memoryview], None]


def write(offset: int, length: int, fill: int) -> Step:
    data = memoryview(bytes([fill]) * length)

    def step(file: SparseFile, keys: TreeKeys, cipher: memoryview, plain: memoryview) -> None:
        file.write(keys, offset, data, cipher, plain)

    return step


def truncate(size: int) -> Step:
    def step(file: SparseFile, keys: TreeKeys, cipher: memoryview, plain: memoryview) -> None:
        file.truncate(keys, size, cipher, plain)

    return step


def punch(offset: int, end: int) -> Step:
    def step(file: SparseFile, keys: TreeKeys, cipher: memoryview, plain: memoryview) -> None:
        file.punch(keys, offset, end, cipher, plain)

    return step


OLD = 1
NEW = 2
CHANGES: dict[str, tuple[list[Step], Step]] = {
    "first write": ([], write(0, 20_000, NEW)),
    "first write, small": ([], write(0, 100, NEW)),
    "first write behind a hole": ([], write(50_000, 9000, NEW)),
    "append to a whole block": ([write(0, 8192, OLD)], write(8192, 9001, NEW)),
    "append inside a block": ([write(0, 5001, OLD)], write(5001, 9000, NEW)),
    "append a little": ([write(0, 5000, OLD)], write(5000, 10, NEW)),
    "overwrite blocks": ([write(0, 40_960, OLD)], write(4096, 12_288, NEW)),
    "overwrite parts of blocks": ([write(0, 40_001, OLD)], write(4000, 9000, NEW)),
    "overwrite the end": ([write(0, 10_001, OLD)], write(9000, 1001, NEW)),
    "overwrite and grow": ([write(0, 10_001, OLD)], write(3, 30_000, NEW)),
    "write behind the end": ([write(0, 5001, OLD)], write(40_001, 5000, NEW)),
    "extend": ([write(0, 5001, OLD)], truncate(60_000)),
    "extend a little": ([write(0, 5001, OLD)], truncate(5010)),
    "cut inside a block": ([write(0, 20_001, OLD)], truncate(9001)),
    "cut inside the last block": ([write(0, 20_001, OLD)], truncate(19_999)),
    "cut between blocks": ([write(0, 20_001, OLD)], truncate(8192)),
    "cut to one byte": ([write(0, 20_001, OLD)], truncate(1)),
    "cut to nothing": ([write(0, 20_001, OLD)], truncate(0)),
    "fill a hole": ([write(0, 3000, OLD), write(60_000, 5000, OLD)], write(20_000, 9000, NEW)),
    "punch": ([write(0, 60_001, OLD)], punch(5000, 40_000)),
}


def assert_explained(found: bytes, before: bytes, after: bytes, *, whole: bool) -> None:
    """A change that was not acknowledged may be there, or not, or in part where it wrote; nothing else may be."""
    if whole:
        assert found in (before, after)
        return
    assert min(len(before), len(after)) <= len(found) <= max(len(before), len(after))
    old, new = before.ljust(len(found), b"\0"), after.ljust(len(found), b"\0")
    assert all(byte in pair for byte, *pair in zip(found, old, new, strict=False))


@pytest.fixture(params=LAYOUTS, ids=["gcm", "xts"])
def layout(request: pytest.FixtureRequest) -> Layout:
    found = request.param
    assert isinstance(found, Layout)
    return found


@pytest.mark.parametrize("name", CHANGES)
def test_killed_at_any_point_nothing_is_lost(
    tmp_path: Path, keys: TreeKeys, layout: Layout, name: str
) -> None:
    begin, change = CHANGES[name]
    model = Vault(tmp_path / "model", keys, layout)
    before, after = model.act(begin), model.act([change])
    undone = point = 0
    struck = True
    while struck:
        vault = Vault(tmp_path / str(point), keys, layout)
        vault.act(begin)
        # Its own file descriptors and its lock die with the child.
        struck = killed_at(point, lambda vault=vault: vault.act([change], vault.journal()))
        at = 0
        while killed_at(at, vault.recover):
            at += 1
        undone += at > 0
        assert_explained(vault.read(), before, after, whole=name.startswith("cut"))
        assert vault.recover() == 0
        point += 1
    assert vault.read() == after
    assert point > 1
    if isinstance(layout, XtsLayout) or name in (
        "extend a little",
        "append a little",
        "first write, small",
        "cut to nothing",
    ):
        return
    assert undone, "no point of this change needed the journal: the test is blind"


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "full for good"])
@pytest.mark.parametrize("name", CHANGES)
def test_refused_at_any_point_nothing_is_lost(
    tmp_path: Path, keys: TreeKeys, layout: Layout, name: str, lasting: bool
) -> None:
    """Writes are refused from a point on, once or for good; with the latter, undoing may have to wait for the next mount."""
    begin, change = CHANGES[name]
    model = Vault(tmp_path / "model", keys, layout)
    before, after = model.act(begin), model.act([change])
    point = 0
    refused = True
    while refused:
        vault = Vault(tmp_path / str(point), keys, layout)
        vault.act(begin)
        journal, refused = vault.journal(), False
        with FaultInjector(point, refuse, lasting=lasting).installed():
            try:
                vault.act([change], journal)
            except OSError as error:
                assert "fault injector" in str(error)
                refused = True
        journal.close()
        vault.recover()
        assert_explained(vault.read(), before, after, whole=False)
        # A backing store that does not even cut may leave the zeros in front of what was written.
        assert lasting or len(vault.read()) == len(before if refused else after)
        point += 1
    assert vault.read() == after
    assert not os.path.exists(vault.base / "journal")


def test_without_a_journal_a_torn_block_is_damage(tmp_path: Path, keys: TreeKeys) -> None:
    """What the journal is for: the same tests find damage where there is none."""
    begin, change = CHANGES["overwrite blocks"]
    vault = Vault(tmp_path, keys, LAYOUTS[0])
    vault.act(begin)
    area = vault.layout.scratch_bytes(SCRATCH)
    assert killed_at(1, lambda: vault.act([change], volatile_journal(area)))
    with pytest.raises(OSError, match="does not open"):
        vault.read()
