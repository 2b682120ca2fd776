"""Errors of the encrypted file system."""

from __future__ import annotations

from phonevault.errors import PhonevaultError


class DirectoryIdDamaged(PhonevaultError):
    """A directory's id file is damaged, was changed, or belongs to another vault."""
