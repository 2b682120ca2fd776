"""Damage found in the ciphertext. All are OSError with EIO, so that a request which meets one answers just that."""

from __future__ import annotations

import errno


class Damaged(OSError):
    """Ciphertext that does not decrypt, or breaks the format."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.EIO, message)


class NameDamaged(Damaged):
    """An entry's name does not decrypt under its directory's id."""


class DirectoryIdDamaged(Damaged):
    """A directory's id file is missing, of the wrong length, or does not open."""


class FileDamaged(Damaged):
    """A file's header or one of its blocks does not open."""


class LinkDamaged(Damaged):
    """A symbolic link's target does not open, or its sidecar is missing."""


class XattrDamaged(Damaged):
    """An extended attribute's name or value does not open."""


class KeysMissing(OSError):
    """The file system is locked: its keys are wiped."""

    def __init__(self) -> None:
        super().__init__(errno.ENOKEY, "the vault is locked")
