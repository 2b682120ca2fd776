"""The folder VAULT itself: both copies of the header, and what else lies beside the tree (docs/format.md 1)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from keyslots import store
from keyslots.envelope import SealedHeader, verify_mac
from keyslots.errors import HeaderTampered, KeyslotsError
from keyslots.secret import Secret
from phonevault.check.findings import Code, Finding, Flaw
from phonevault.fs.format.journal import DIRECTORY as JOURNAL

_TEMPORARY = re.compile(re.escape(store.TEMPORARY) + r"[0-9a-f]{16}\Z")
_OURS = {store.MAIN, store.BACKUP, store.TREE, JOURNAL}


def check_header(vault: Path, key: Secret, report: Callable[[Finding], None], *, repair: bool) -> None:
    """Check both copies and the names in VAULT.

    Args:
        vault: VAULT, whose header was verified.
        key: header key of the copy that counts.
        report: told of each finding.
        repair: mend what can be mended.

    Raises:
        HeaderBusy, HeaderUnreadable: the copies cannot be looked at.
    """

    def tell(name: str, flaw: Flaw, mend: Callable[[], str] | None = None) -> None:
        repaired = failed = ""
        if repair and mend is not None:
            try:
                repaired = mend()
            except KeyslotsError as error:
                failed = str(error)
        report(Finding(flaw.code, None, name, flaw.detail, repaired, failed))

    def rewrite(name: str) -> str:
        store.rewrite_copy(vault, name, key)
        return "written anew"

    def remove(name: str) -> str:
        store.remove_leftover(vault, name)
        return "removed"

    for name, flaw in _flaws(store.copies(vault), key):
        mendable = flaw.code is not Code.HEADER_COPY_OLD
        tell(name, flaw, partial(rewrite, name) if mendable else None)
    for name in sorted(os.listdir(vault)):
        if _TEMPORARY.match(name):
            tell(name, Flaw(Code.LEFTOVER), partial(remove, name))
        elif name not in _OURS:
            tell(name, Flaw(Code.FOREIGN))


def _flaws(copies: dict[str, SealedHeader | KeyslotsError | None], key: Secret) -> list[tuple[str, Flaw]]:
    """What is wrong with which copy. The one that counts was opened, so it is sound."""
    found = []
    for name, copy in copies.items():
        if copy is None:
            found.append((name, Flaw(Code.HEADER_COPY_MISSING)))
        elif isinstance(copy, KeyslotsError):
            found.append((name, Flaw(Code.HEADER_COPY_DAMAGED, str(copy))))
    main, backup = copies[store.MAIN], copies[store.BACKUP]
    if isinstance(main, SealedHeader) and isinstance(backup, SealedHeader) and main != backup:
        found.append((store.BACKUP, _difference(main, backup, key)))
    return found


def _difference(main: SealedHeader, backup: SealedHeader, key: Secret) -> Flaw:
    """An interrupted replacement leaves the next generation in the second copy, which is written first."""
    before, after = main.header.generation, backup.header.generation
    detail = f"generation {before} in {store.MAIN}, {after} in {store.BACKUP}"
    if backup.header.vault_id != main.header.vault_id:
        return Flaw(Code.HEADER_COPY_DAMAGED, "it is of another vault")
    if after == before + 1:
        return Flaw(Code.HEADER_COPIES_DIFFER, detail)
    if backup.header.epochs == main.header.epochs:
        try:
            verify_mac(backup, key)
        except HeaderTampered:
            return Flaw(Code.HEADER_COPY_DAMAGED, "its MAC is wrong")
    return Flaw(Code.HEADER_COPY_OLD, detail)
