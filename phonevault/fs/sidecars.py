"""Sidecars: the files that hold what a long name's hash does not tell (docs/format.md 2).

A sidecar is there, durably, before its entry and goes after it; a crash leaves at most a sidecar too many. It belongs to the *name*:
an exchange of two entries leaves every sidecar where it is. Another host may make or remove the same name at any moment, so each side looks
again after its own step, whoever is last puts right what the other took.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from phonevault.fs.errors import Damaged
from phonevault.fs.format import names
from phonevault.fs.small_files import exists, put_durably, read_small, sync_directory


@contextmanager
def named(directory_fd: int, encoded: str, *, like: os.stat_result | None = None) -> Iterator[str]:
    """The stored name for an entry that the body puts in place; if the body fails, a sidecar without an entry goes again.

    With ``like`` a sidecar belongs to whom that belongs to.
    """
    stored = names.stored_name(encoded)
    if not names.is_long(stored):
        yield stored
        return
    try:
        _ensure(directory_fd, stored, encoded, like)
        yield stored
    except OSError:
        drop(directory_fd, stored)
        raise
    if not exists(stored + names.LONG_SUFFIX, directory_fd):
        _ensure(directory_fd, stored, encoded, like)


def drop(directory_fd: int, stored: str) -> None:
    """After an entry went, or did not come: its sidecar goes too, unless the name is there (again). A failure leaves one too many."""
    if not names.is_long(stored):
        return
    with contextlib.suppress(OSError):
        if exists(stored, directory_fd):
            return
        try:
            encoded = read(directory_fd, stored)
        except Damaged:
            encoded = None
        os.unlink(stored + names.LONG_SUFFIX, dir_fd=directory_fd)
        if encoded is not None and exists(stored, directory_fd):
            _ensure(directory_fd, stored, encoded)


def read(directory_fd: int, stored: str) -> str:
    """The encoded name of a long entry.

    Raises:
        Damaged: the sidecar is damaged, or another entry's.
        OSError: of the backing store; ENOENT, there is none.
    """
    try:
        encoded = read_small(stored + names.LONG_SUFFIX, directory_fd).decode("ascii")
    except UnicodeDecodeError:
        raise Damaged("a long name's sidecar is damaged") from None
    if names.stored_name(encoded) != stored:
        raise Damaged("a long name's sidecar belongs to another entry")
    return encoded


def _ensure(directory_fd: int, stored: str, encoded: str, like: os.stat_result | None = None) -> None:
    """The sidecar is there and durable after this; one that is right already is not written again."""
    try:
        sound = read(directory_fd, stored) == encoded
    except (FileNotFoundError, Damaged):
        sound = False
    if not sound:
        put_durably(
            stored + names.LONG_SUFFIX, encoded.encode("ascii"), directory_fd, replace=True, like=like
        )
    elif not exists(stored, directory_fd):
        sync_directory(directory_fd)
