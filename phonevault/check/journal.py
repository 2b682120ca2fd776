"""What mounts that were killed left in the journal (docs/format.md 5)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from keyslots.store import TREE
from phonevault.check.findings import Code, Finding
from phonevault.fs.format.journal import DIRECTORY
from phonevault.fs.recovery import RecoveryFailed, recover


def check_journal(vault: Path, report: Callable[[Finding], None], *, repair: bool) -> None:
    """Look at the journal; for a repair it is worked off, as a mount does it.

    Args:
        vault: VAULT, whose tree is locked: exclusively for a repair.
        report: told of each finding.
        repair: put back what is half done.
    """
    try:
        found = recover(vault / DIRECTORY, vault / TREE, look_only=not repair)
    except RecoveryFailed as error:
        report(Finding(Code.JOURNAL_FAILED, None, DIRECTORY, os.strerror(error.errno or 0)))
        return
    changes = found.put_back or found.waiting
    if changes:
        done = "put back" if repair else ""
        report(Finding(Code.JOURNAL_PENDING, None, DIRECTORY, f"changes: {changes}", done))
    for name in found.dropped:
        report(Finding(Code.JOURNAL_USELESS, None, f"{DIRECTORY}/{name}", "", "removed" if repair else ""))
    for name in found.foreign:
        report(Finding(Code.JOURNAL_FOREIGN, None, f"{DIRECTORY}/{name}"))
