"""Recovery after a mount that died: what it finds, what it leaves alone, and what hostile journals cannot make it do."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.stopping import FaultInjector, killed_at, refuse

from phonevault.fs.contents.gcm_file import GcmFile
from phonevault.fs.format import journal as layout_of
from phonevault.fs.format.journal import FREE, GOING_BACK, PAGE_BYTES, UNDER_WAY, JournalDamaged
from phonevault.fs.format.layout import Layout
from phonevault.fs.journal import Journal, Slot, boot_mark, journal_in, open_journal
from phonevault.fs.keys import TreeKeys
from phonevault.fs.recovery import Recovered, RecoveryFailed, recover

LAYOUT = Layout(4096)
AREA = LAYOUT.scratch_bytes(1 << 18)
OLD, NEW = b"o" * 40_000, b"n" * 20_000
HALF_WAY = 2
"""A point of the write below at which some of it was made."""


class Torn:
    """A vault whose only file was being overwritten when its mount died."""

    def __init__(self, base: Path, keys: TreeKeys) -> None:
        self.base, self.keys = base, keys
        self.tree, self.directory = base / "tree", base / "journal"
        self.path = self.tree / "a" / "file"
        self.path.parent.mkdir(parents=True)
        self.change(0, OLD, None)
        assert killed_at(HALF_WAY, lambda: self.change(100, NEW, open_journal(self.directory, AREA)))
        self.torn = self.path.read_bytes()
        (self.journal,) = self.directory.iterdir()

    def change(self, offset: int, data: bytes, journal: Journal | None) -> None:
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        GcmFile(fd, LAYOUT, False, journal).write(self.keys, offset, memoryview(data), *_scratch())
        os.close(fd)

    def read(self, path: Path | None = None) -> bytes:
        fd = os.open(path or self.path, os.O_RDONLY)
        try:
            return bytes(GcmFile(fd, LAYOUT).read(self.keys, 0, 1 << 18, *_scratch()))
        finally:
            os.close(fd)

    def recover(self, *, shared: bool = False, look_only: bool = False) -> Recovered:
        return recover(self.directory, self.tree, shared=shared, look_only=look_only)

    def edit(self, at: int, raw: bytes) -> None:
        fd = os.open(self.journal, os.O_WRONLY)
        os.pwrite(fd, raw, at)
        os.close(fd)

    def slot_under_way(self) -> int:
        """Where the page of the slot with the half-done change begins."""
        raw = self.journal.read_bytes()
        owner = layout_of.parse_owner(raw[:PAGE_BYTES])
        (found,) = [owner.slot_at(n) for n in range(owner.slots) if raw[owner.slot_at(n)] != FREE]
        return found


def _scratch() -> tuple[memoryview, memoryview]:
    return memoryview(bytearray(AREA)), memoryview(bytearray(AREA))


@pytest.fixture
def torn(tmp_path: Path, keys: TreeKeys) -> Torn:
    found = Torn(tmp_path, keys)
    with pytest.raises(OSError, match="does not open"):
        found.read()
    return found


def test_a_half_done_change_is_undone_and_the_journal_goes(torn: Torn) -> None:
    assert torn.recover() == Recovered(put_back=1)
    assert torn.read() == OLD
    assert not any(torn.directory.iterdir())
    assert torn.recover() == Recovered()


def test_the_file_is_found_under_another_name(torn: Torn) -> None:
    elsewhere = torn.tree / "b" / "c"
    elsewhere.mkdir(parents=True)
    torn.path.rename(elsewhere / "other")
    assert torn.recover().put_back == 1
    assert torn.read(elsewhere / "other") == OLD


def test_a_removed_file_is_not_missed(torn: Torn) -> None:
    torn.path.unlink()
    assert torn.recover() == Recovered()
    assert not any(torn.directory.iterdir())


def test_another_file_with_the_inode_number_is_left_alone(torn: Torn) -> None:
    """As if the number had come again: the same inode, another file id."""
    torn.path.write_bytes(b"")
    torn.change(0, NEW * 3, None)
    before = torn.path.read_bytes()
    assert torn.recover() == Recovered()
    assert torn.path.read_bytes() == before


@pytest.mark.parametrize("state", [UNDER_WAY, GOING_BACK])
def test_what_was_cut_or_written_since_is_not_undone(torn: Torn, state: int) -> None:
    torn.edit(torn.slot_under_way(), bytes([state]))
    os.truncate(torn.path, 5000)
    before = torn.path.read_bytes()
    assert torn.recover() == Recovered()
    assert torn.path.read_bytes() == before


def _died_behind_its_write(vault: Torn, offset: int, data: bytes) -> None:
    """A write that was made whole by a mount that died before its journal said so."""
    assert vault.recover().put_back == 1
    journal = open_journal(vault.directory, AREA)
    vault.change(offset, data, journal)
    (path,) = vault.directory.iterdir()
    slot_at = layout_of.parse_owner(path.read_bytes()[:PAGE_BYTES]).slot_at(2)
    with path.open("r+b") as file:
        file.seek(slot_at)
        file.write(bytes([UNDER_WAY]))
    journal.close()
    assert path.exists()


@pytest.mark.parametrize("overlap", [0, 100, 5000])
@pytest.mark.parametrize("elsewhere", [0, 1, 50_000])
def test_what_another_host_appended_since_stays(torn: Torn, overlap: int, elsewhere: int) -> None:
    """The file grew by a whole write, and is longer now: there is nothing half done in it."""
    _died_behind_its_write(torn, len(OLD) - overlap, NEW)
    grown = OLD[: len(OLD) - overlap] + NEW
    if elsewhere:
        torn.change(len(grown), b"e" * elsewhere, None)
    assert torn.recover(shared=True) == Recovered()
    assert torn.read() == grown + b"e" * elsewhere


@pytest.mark.mount
def test_files_and_folders_whose_mode_is_against_it_are_reached(torn: Torn) -> None:
    """Marked as the tests with mounts are, so that it runs for an ordinary user too."""
    torn.path.chmod(0o444)
    torn.path.parent.chmod(0)
    try:
        assert torn.recover().put_back == 1
        assert torn.path.parent.stat().st_mode & 0o777 == 0
    finally:
        torn.path.parent.chmod(0o700)
    assert torn.path.stat().st_mode & 0o777 == 0o444
    assert torn.read() == OLD


def test_looking_changes_nothing(torn: Torn) -> None:
    journal = torn.journal.read_bytes()
    assert torn.recover(look_only=True) == Recovered(waiting=1)
    assert (torn.journal.read_bytes(), torn.path.read_bytes()) == (journal, torn.torn)


def test_a_living_mount_keeps_its_journal(torn: Torn) -> None:
    with torn.journal.open("rb") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        assert torn.recover(shared=True) == Recovered()
    assert torn.path.read_bytes() == torn.torn
    assert torn.recover().put_back == 1


@pytest.mark.parametrize("point", [0, 1, 2, 3])
def test_a_store_that_refuses_keeps_the_journal(torn: Torn, point: int) -> None:
    with FaultInjector(point, refuse, lasting=True).installed(), pytest.raises(RecoveryFailed) as caught:
        torn.recover()
    assert caught.value.hint
    assert torn.journal.exists()
    assert torn.recover().put_back == 1
    assert torn.read() == OLD


def test_a_journal_of_an_earlier_run_of_the_machine_is_thrown_away(torn: Torn) -> None:
    _claim(torn, lambda owner: layout_of.Owner(*owner[:4], bytes(16)))
    assert torn.recover() == Recovered(dropped=[torn.journal.name])
    assert torn.path.read_bytes() == torn.torn
    assert not torn.journal.exists()


def test_a_journal_of_another_machine_is_left(torn: Torn) -> None:
    _claim(torn, lambda owner: layout_of.Owner(*owner[:3], bytes(16), owner[4]))
    assert torn.recover() == Recovered(foreign=[torn.journal.name])
    assert torn.journal.exists()


def test_a_copy_that_came_from_another_machine_is_left_too(torn: Torn) -> None:
    """Removing it, a sync service would remove the original."""
    _claim(torn, lambda owner: layout_of.Owner(*owner[:2], owner[2] + 1, bytes(16), owner[4]))
    assert torn.recover() == Recovered(foreign=[torn.journal.name])
    assert torn.journal.exists()


def test_a_copy_of_a_journal_is_none(torn: Torn) -> None:
    raw = torn.journal.read_bytes()
    kept = torn.journal.rename(torn.base / "kept")
    torn.journal.write_bytes(raw)
    assert torn.recover() == Recovered(dropped=[torn.journal.name])
    assert torn.path.read_bytes() == torn.torn
    assert kept.exists()


def _claim(torn: Torn, change: Callable[[tuple[int, int, int, bytes, bytes]], layout_of.Owner]) -> None:
    owner = layout_of.parse_owner(torn.journal.read_bytes()[:PAGE_BYTES])
    fields = (owner.slots, owner.area_bytes, owner.inode, owner.host, owner.boot)
    torn.edit(0, change(fields).packed())


# -- hostile bytes --------------------------------------------------------------------------------------------


def test_what_is_no_journal_is_not_opened(tmp_path: Path) -> None:
    directory, tree, secret = tmp_path / "journal", tmp_path / "tree", tmp_path / "secret"
    directory.mkdir()
    tree.mkdir()
    secret.write_bytes(b"not mine")
    (directory / ("0" * 16)).symlink_to(secret)
    os.mkfifo(directory / ("1" * 16))
    (directory / ("2" * 16)).mkdir()
    (directory / "notes").write_bytes(b"")
    (directory / ("3" * 16)).write_bytes(b"short")
    assert recover(directory, tree) == Recovered(dropped=["3" * 16])
    assert secret.read_bytes() == b"not mine"
    assert len(list(directory.iterdir())) == 4


def test_a_journal_directory_that_is_a_link_is_refused(torn: Torn) -> None:
    torn.directory.rename(torn.base / "elsewhere")
    torn.directory.symlink_to(torn.base / "elsewhere")
    with pytest.raises(RecoveryFailed):
        torn.recover()
    assert torn.path.read_bytes() == torn.torn


def test_nothing_outside_the_tree_is_reached(torn: Torn) -> None:
    """The file moved out of the tree, and links to it and to its directory stand in its place."""
    outside = torn.base / "outside"
    torn.path.parent.rename(outside)
    (torn.tree / "a").symlink_to(outside)
    (torn.tree / "file").symlink_to(outside / "file")
    assert torn.recover() == Recovered()
    assert (outside / "file").read_bytes() == torn.torn


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.one_of(st.integers(0, 130), st.integers(64, 128)), st.integers(0, 255), max_size=12)
)
def test_any_slot_is_in_bounds_or_refused(changes: dict[int, int]) -> None:
    page = bytearray(PAGE_BYTES)
    layout_of.pack_record(memoryview(page), 7, 128, 9000, 4124, b"i" * 16, memoryview(b"n" * 99))
    page[0] = UNDER_WAY
    for place, value in changes.items():
        page[place] = value
    try:
        record = layout_of.parse_slot(bytes(page), 8192)
    except JournalDamaged:
        return
    if record is None:
        assert page[0] == FREE
        return
    assert record.old_bytes <= 8192 and 1 <= len(record.head) <= 16
    assert not record.old_bytes or record.offset + record.old_bytes <= record.size
    assert max(record.offset, record.size) < 1 << 63


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 60))
def test_any_first_page_is_a_journals_or_refused(raw: bytes, at: int) -> None:
    page = bytearray(layout_of.Owner(3, 8192, 5, b"h" * 16, b"b" * 16).packed())
    page[at : at + len(raw)] = raw
    try:
        owner = layout_of.parse_owner(bytes(page[:PAGE_BYTES]))
    except JournalDamaged:
        return
    assert owner.packed() == page[:PAGE_BYTES]


@pytest.mark.parametrize("at", [*range(72, 128)])
def test_a_forged_record_of_the_file_undoes_nothing_else(torn: Torn, at: int) -> None:
    """Each byte behind the inode number changed: at most the file itself changes, and recovery ends."""
    other = torn.tree / "a" / "other"
    other.write_bytes(torn.torn)
    slot = torn.slot_under_way()
    torn.edit(slot + at, bytes([torn.journal.read_bytes()[slot + at] ^ 0x40]))
    try:
        torn.recover()
    except RecoveryFailed:
        assert torn.journal.exists()
    assert other.read_bytes() == torn.torn


# -- making one -----------------------------------------------------------------------------------------------


def test_a_vault_that_takes_no_journal_is_told(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(b"in the way")
    assert not journal_in(tmp_path / "journal", AREA).safe
    assert journal_in(None, AREA).safe


def test_a_journal_is_private_locked_and_reserved(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal", AREA)
    (path,) = (tmp_path / "journal").iterdir()
    status = path.stat()
    assert status.st_mode & 0o777 == 0o600
    assert status.st_blocks * 512 >= status.st_size
    with path.open("rb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert layout_of.parse_owner(path.read_bytes()[:PAGE_BYTES]).boot == boot_mark(path.name)
    journal.close()
    assert not (tmp_path / "journal").exists()


def test_a_journal_with_a_change_under_way_outlives_its_mount(torn: Torn) -> None:
    """A request that hangs in the backing store, and a process that ends all the same."""
    assert torn.recover().put_back == 1
    status = torn.path.stat()
    journal = open_journal(torn.directory, AREA)
    slot = journal.take()
    slot.begin(status.st_ino, 128, status.st_size, 0, torn.path.read_bytes()[12:28], memoryview(b"new"))
    journal.close()
    assert len(list(torn.directory.iterdir())) == 1
    assert torn.recover() == Recovered()
    assert torn.read() == OLD


def test_more_changes_than_slots_wait(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal", AREA)
    slots: list[Slot] = [journal.take() for _ in range(3)]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(journal.take)
        assert not waiting.done()
        journal.give_back(slots[1])
        assert waiting.result(10) is slots[1]
    journal.close()


def test_a_slot_that_another_thread_takes_first_is_waited_for_again(tmp_path: Path) -> None:
    """The quick way takes no lock, so a slot can be gone between looking and taking."""

    class Stolen(list[Slot]):
        looks = 0

        def __len__(self) -> int:
            Stolen.looks += 1
            return 1 if Stolen.looks == 1 else super().__len__()

    journal = open_journal(tmp_path / "journal", AREA)
    slots = [journal.take() for _ in range(3)]
    journal._free = Stolen()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(journal.take)
        while Stolen.looks < 2:
            assert not waiting.done()
        journal.give_back(slots[0])
        assert waiting.result(10) is slots[0]
    journal.close()
