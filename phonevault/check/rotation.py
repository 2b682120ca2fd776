"""What a rotation of contents left in VAULT/rotation (docs/format.md 1.8)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from keyslots.store import TREE
from phonevault.check.findings import Code, Finding
from phonevault.check.keys import CheckKeys
from phonevault.check.places import DIRECTORY_FLAGS
from phonevault.fs.format.rotation import DIRECTORY
from phonevault.fs.rotation.store import opened_store, remove_own
from phonevault.fs.rotation.undo import pending, undo


def check_rotation(vault: Path, keys: CheckKeys, report: Callable[[Finding], None], *, repair: bool) -> None:
    """Look at it, and give the keys the borders of files that are half encrypted anew.

    Args:
        vault: VAULT, whose tree is locked: exclusively for a repair.
        keys: of all live epochs.
        report: told of each finding.
        repair: put back what is half done.
    """
    key = keys.of_names.rotation
    if key is None:
        _leftover(vault, report, repair=repair)
        return
    report(Finding(Code.ROTATION_UNDER_WAY, None, DIRECTORY))
    try:
        with opened_store(vault, key.view) as store:
            if store is None:
                return
            changes = undo(store, vault / TREE) if repair else pending(store)
            keys.of_names.borders = store.borders()
    except OSError as error:
        report(Finding(Code.ROTATION_FAILED, None, DIRECTORY, os.strerror(error.errno or 0)))
        return
    if changes:
        done = "put back" if repair else ""
        report(Finding(Code.ROTATION_PENDING, None, DIRECTORY, f"objects: {changes}", done))


def _leftover(vault: Path, report: Callable[[Finding], None], *, repair: bool) -> None:
    """The folder outlived its rotation: nobody reads it. What no rotation makes stays in it."""
    try:
        fd = os.open(vault / DIRECTORY, DIRECTORY_FLAGS)
    except FileNotFoundError:
        return
    except OSError:  # a link or file in its place
        report(Finding(Code.FOREIGN, None, DIRECTORY))
        return
    repaired = failed = ""
    try:
        if repair:
            remove_own(fd)
            os.rmdir(vault / DIRECTORY)
            repaired = "removed"
    except OSError as error:
        failed = os.strerror(error.errno or 0)
    finally:
        os.close(fd)
    report(Finding(Code.ROTATION_LEFTOVER, None, DIRECTORY, "", repaired, failed))
