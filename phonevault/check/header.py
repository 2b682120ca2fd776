"""Both copies of the header, and what else lies beside the tree (docs/format.md 1, 1.7)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial

from keyslots import store
from keyslots.envelope import SealedHeader, verify_mac
from keyslots.errors import HeaderTampered, KeyslotsError
from keyslots.place import Place, Where
from keyslots.secret import Secret
from phonevault.check.findings import Code, Finding, Flaw
from phonevault.fs.format.journal import DIRECTORY as JOURNAL
from phonevault.fs.format.rotation import DIRECTORY as ROTATION

_TEMPORARY = re.compile(re.escape(store.TEMPORARY) + r"[0-9a-f]{16}\Z")


def check_header(place: Place, key: Secret, report: Callable[[Finding], None], *, repair: bool) -> None:
    """Check both copies, what a replacement left beside them, and the names in VAULT.

    Args:
        place: the vault, whose header was verified.
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
        store.rewrite_copy(place, name, key)
        return "written anew"

    def remove(where: Where, name: str) -> str:
        store.remove_leftover(where, name)
        return "removed"

    for name, flaw in _flaws(place, store.copies(place), key):
        mendable = flaw.code is not Code.HEADER_COPY_OLD
        tell(_shown(place, name), flaw, partial(rewrite, name) if mendable else None)
    if place.apart:  # of its directory nothing else is ours to judge
        for name in filter(_TEMPORARY.match, sorted(os.listdir(place.directory))):
            tell(_shown(place, name), Flaw(Code.LEFTOVER), partial(remove, place, name))
    ours = {store.TREE, JOURNAL, ROTATION} | (set() if place.apart else {place.main, place.backup})
    for name in sorted(os.listdir(place.vault)):
        if _TEMPORARY.match(name):
            tell(name, Flaw(Code.LEFTOVER), partial(remove, place.vault, name))
        elif name not in ours:
            tell(name, Flaw(Code.FOREIGN))


def _shown(place: Place, name: str) -> str:
    """A name in VAULT, or the path of what is kept apart."""
    return str(place.directory / name) if place.apart else name


def _flaws(
    place: Place, copies: dict[str, SealedHeader | KeyslotsError | None], key: Secret
) -> list[tuple[str, Flaw]]:
    """What is wrong with which copy. The one that counts was opened, so it is sound."""
    found = []
    for name, copy in copies.items():
        if copy is None:
            found.append((name, Flaw(Code.HEADER_COPY_MISSING)))
        elif isinstance(copy, KeyslotsError):
            found.append((name, Flaw(Code.HEADER_COPY_DAMAGED, str(copy))))
    main, backup = copies[place.main], copies[place.backup]
    if isinstance(main, SealedHeader) and isinstance(backup, SealedHeader) and main != backup:
        found.append((place.backup, _difference(place, main, backup, key)))
    return found


def _difference(place: Place, main: SealedHeader, backup: SealedHeader, key: Secret) -> Flaw:
    """An interrupted replacement leaves the next generation in the second copy, which is written first."""
    before, after = main.header.generation, backup.header.generation
    detail = f"generation {before} in {place.main}, {after} in {place.backup}"
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
