"""Backup and restore of a vault's header.

A header is small, and without it nothing opens. A restored one is proved first: it must open the tree that is there.
"""

from __future__ import annotations

import dataclasses
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from keyslots import store
from keyslots.derive import header_key
from keyslots.envelope import MAX_FILE_BYTES, SealedHeader, parse_file
from keyslots.errors import HeaderAway, HeaderDamaged, HeaderTampered, NotAVault, OtherVault
from keyslots.header import Header
from keyslots.place import Where, place_of
from phonevault.durable import write_new
from phonevault.vault import OpenedVault, SlotOpener, open_sealed, prove, written


@dataclass(frozen=True)
class Comparison:
    """A backup beside the header that is in the vault.

    Attributes:
        backup: not verified.
        present: not verified; None if the vault's header cannot be used.
        second: a sound second copy of a header that cannot be used: it would be overwritten, too. Not verified.
    """

    backup: SealedHeader
    present: SealedHeader | None
    second: SealedHeader | None = None

    @property
    def replaced(self) -> SealedHeader | None:
        """What a restore overwrites."""
        return self.present or self.second

    @property
    def older(self) -> bool:
        """The vault's header was written after the backup: removed slots would come back."""
        return self.replaced is not None and self.backup.header.generation < self.replaced.header.generation

    @property
    def other_keys(self) -> bool:
        """Volume keys were rotated since: what was written under the new ones would not open."""
        return self.replaced is not None and self.backup.header.epochs != self.replaced.header.epochs

    @property
    def keys_may_differ(self) -> bool:
        """A mount of the vault may be at work with volume keys that the backup does not have."""
        return self.replaced is None or self.other_keys


def backup(where: Where, file: Path) -> Header:
    """Copy the header to a new file (mode 0600), durably.

    Raises:
        NotAVault, HeaderDamaged, HeaderTampered, HeaderTooNew, HeaderUnreadable: as for `keyslots.store.load`.
        OSError: the file exists or cannot be written; nothing of it stays.
    """
    loaded = store.load(where)
    write_new(file, loaded.sealed.encode())
    return loaded.header


def compare(where: Where, file: Path) -> Comparison:
    """Read a backup, and the vault's header if it is sound.

    Raises:
        HeaderDamaged, HeaderTampered, HeaderTooNew: the backup is no sound header.
        OtherVault: the vault's sound header has another id.
        HeaderTooNew: the vault's own header was made by a newer version: it is not replaced.
        NotAVault: there is no tree.
        HeaderAway: the directory for a header kept apart is not there.
        OSError: the file cannot be read.
    """
    sealed = parse_file(_read(file))
    place = place_of(where)
    if not place.tree.is_dir():
        raise NotAVault(f"no vault at {place.vault}: it has no tree")
    try:
        present = store.load(place).sealed
    except (HeaderDamaged, HeaderTampered, HeaderAway):
        second = store.copies(place)[place.backup]
        return Comparison(sealed, None, second if isinstance(second, SealedHeader) else None)
    if present.header.vault_id != sealed.header.vault_id:
        raise OtherVault("this is the header of another vault")
    return Comparison(sealed, present)


def open_backup(where: Where, sealed: SealedHeader, opener: SlotOpener) -> OpenedVault:
    """Open a backup through one of its slots and prove it on the vault's tree.

    Raises:
        WrongKey: the opener fits none of its slots.
        HeaderTampered: its MAC is wrong.
        OtherVault: it does not open this tree.
    """
    from phonevault.fs.errors import DirectoryIdDamaged

    opened = open_sealed(where, sealed, opener, in_force=False)
    try:
        prove(opened)
    except DirectoryIdDamaged:
        opened.wipe()
        raise OtherVault(
            "this header does not open the tree of this vault",
            hint="it belongs to another vault, to an older key of this one, or the tree's root id is damaged",
        ) from None
    except BaseException:
        opened.wipe()
        raise
    return opened


def restore(opened: OpenedVault, present: SealedHeader | None) -> Header:
    """Write a proved backup over both copies, under a generation that no copy had before.

    Args:
        opened: what `open_backup` gave.
        present: what the user was told about (`Comparison.present`).

    Raises:
        HeaderChanged: the vault's header is not `present` any more.
        HeaderBusy, HeaderWriteFailed: as for `keyslots.store.save`.
    """
    newest = max(opened.header.generation, present.header.generation if present is not None else 0)
    header = dataclasses.replace(opened.header, generation=newest + 1)
    with header_key(opened.vmk, header.vault_id) as key:
        store.replace(opened.place, header, key, expected=present)
    written(opened, header)
    return header


def _read(file: Path) -> bytes:
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise HeaderDamaged(f"{file} is no regular file")
        with os.fdopen(os.dup(descriptor), "rb") as source:
            return source.read(MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
