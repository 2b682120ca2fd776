"""What the check says of journals, and what a repair does with them: half-done writes, useless, foreign and stuck ones."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from check.ciphertext import Ciphertext
from support.checking import check
from support.stopping import FaultInjector, killed_at, refuse

from phonevault.check.findings import Code, Finding
from phonevault.check.journal import check_journal
from phonevault.fs.contents.gcm_file import GcmFile
from phonevault.fs.format.journal import PAGE_BYTES, Owner, parse_owner
from phonevault.fs.journal import open_journal

CIPHER = "aes-256-gcm"
HALF_WAY = 2
"""A point of the write below at which a part of it was made."""
OLD = bytes(range(256)) * 80


class Torn:
    """A vault's tree and journal, after a mount was killed in the middle of overwriting `/blocks`."""

    def __init__(self, vault: Path) -> None:
        self.vault = vault
        self.made = Ciphertext.make(vault / "tree", CIPHER)
        self.directory = vault / "journal"
        assert killed_at(HALF_WAY, self._overwrite)
        (self.journal,) = self.directory.iterdir()
        assert self.made.visible()[b"blocks"] is None

    def _overwrite(self) -> None:
        made = self.made
        fd = os.open(made.stored(b"blocks"), os.O_RDWR)
        journal = open_journal(self.directory, made._layout.scratch_bytes(1 << 20))
        new = memoryview(b"n" * 20_000)
        GcmFile(fd, made._layout, False, journal).write(made._keys_of_files, 100, new, *made._scratch)

    def found(self, *, repair: bool = False) -> list[Finding]:
        findings: list[Finding] = []
        check_journal(self.vault, findings.append, repair=repair)
        return findings

    def claim(self, change: Callable[[Owner], Owner]) -> None:
        """Write the journal's first page anew."""
        raw = self.journal.read_bytes()
        self.journal.write_bytes(change(parse_owner(raw[:PAGE_BYTES])).packed() + raw[PAGE_BYTES:])


@pytest.fixture
def torn(tmp_path: Path) -> Torn:
    (tmp_path / "vault").mkdir()
    return Torn(tmp_path / "vault")


def codes(findings: list[Finding]) -> list[Code]:
    return [finding.code for finding in findings]


def test_a_half_done_write_is_told_and_put_back(torn: Torn) -> None:
    before = torn.journal.read_bytes()
    (finding,) = torn.found()
    assert (finding.code, finding.detail, bool(finding.repaired)) == (
        Code.JOURNAL_PENDING,
        "changes: 1",
        False,
    )
    assert codes(check(torn.made.tree, CIPHER)) == [Code.BLOCK_DAMAGED]  # as the note says
    assert torn.journal.read_bytes() == before and torn.made.visible()[b"blocks"] is None
    (finding,) = torn.found(repair=True)
    assert finding.code is Code.JOURNAL_PENDING and finding.repaired
    assert torn.made.visible()[b"blocks"] == OLD
    assert torn.found() == [] == check(torn.made.tree, CIPHER)


def other_boot(torn: Torn) -> None:
    torn.claim(lambda owner: Owner(owner.slots, owner.area_bytes, owner.inode, owner.host, bytes(16)))


def copied(torn: Torn) -> None:
    """As a sync tool does; under the same name, since the marks of host and run belong to it."""
    kept = torn.vault / "kept"
    shutil.copy(torn.journal, kept)
    os.replace(kept, torn.journal)


def cut(torn: Torn) -> None:
    os.truncate(torn.journal, torn.journal.stat().st_size - PAGE_BYTES)


def no_journal(torn: Torn) -> None:
    torn.journal.write_bytes(b"no journal")


def bad_slot(torn: Torn) -> None:
    raw = bytearray(torn.journal.read_bytes())
    raw[PAGE_BYTES] = 77
    torn.journal.write_bytes(raw)


@pytest.mark.parametrize("damage", [other_boot, copied, cut, no_journal, bad_slot])
def test_a_useless_journal_is_told_removed_and_never_used(torn: Torn, damage: Callable[[Torn], None]) -> None:
    damage(torn)
    (finding,) = torn.found()
    assert (finding.code, bool(finding.repaired)) == (Code.JOURNAL_USELESS, False)
    assert finding.stored == f"journal/{torn.journal.name}"
    ciphertext = torn.made.stored(b"blocks").read_bytes()
    (finding,) = torn.found(repair=True)
    assert finding.code is Code.JOURNAL_USELESS and finding.repaired
    assert not torn.journal.exists()
    assert torn.made.stored(b"blocks").read_bytes() == ciphertext
    assert torn.found() == []


def test_the_journal_of_another_machine_stays(torn: Torn) -> None:
    torn.claim(lambda owner: Owner(owner.slots, owner.area_bytes, owner.inode, bytes(16), owner.boot))
    before = torn.journal.read_bytes()
    for repair in (False, True, False):
        (finding,) = torn.found(repair=repair)
        assert finding.code is Code.JOURNAL_FOREIGN and not finding.repaired
    assert torn.journal.read_bytes() == before


def test_a_journal_that_cannot_be_worked_off_is_a_problem_and_stays(torn: Torn) -> None:
    before = torn.journal.read_bytes()
    with FaultInjector(1, refuse, lasting=True).installed():  # the first is the journal's own state
        (finding,) = torn.found(repair=True)
    assert (finding.code, finding.detail) == (Code.JOURNAL_FAILED, os.strerror(errno.ENOSPC))
    assert len(torn.journal.read_bytes()) == len(before)
    (finding,) = torn.found(repair=True)
    assert finding.code is Code.JOURNAL_PENDING and finding.repaired
    assert torn.made.visible()[b"blocks"] == OLD


def test_something_else_in_the_place_of_the_journal_is_a_problem(torn: Torn) -> None:
    shutil.rmtree(torn.directory)
    torn.directory.symlink_to(torn.made.tree)
    for repair in (False, True):
        (finding,) = torn.found(repair=repair)
        assert finding.code is Code.JOURNAL_FAILED
