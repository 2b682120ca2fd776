"""The newest header of each vault that this user has met on this computer: one that was rolled back is noticed.

A record in the state directory, one small file for each vault, replaced in one step. It holds no secret. What is wrong with it means that
nothing is known, and what cannot be written is left. Whoever puts a whole vault back himself removes the file, or lives with the warning.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from pathlib import Path

from keyslots import canonical
from keyslots.header import Header
from keyslots.schema import SchemaError, integer, members, string
from phonevault.errors import SettingsError
from phonevault.paths import private_dir, put_private, state_dir

_MAX_BYTES = 256
_MAX_GENERATION = 2**53 - 1
_DIGEST = re.compile("[0-9a-f]{64}")


def look(header: Header) -> str:
    """Compare a verified header with the newest one met so far, and remember it if it is newer. Never fails.

    Returns:
        What the user should know, or "".
    """
    with contextlib.suppress(OSError, SettingsError, RuntimeError):  # RuntimeError: a user without a home
        file = _file(header)
        known = _read(file)
        if known is None or header.generation > known[0]:
            private_dir(file.parent)
            record = {"digest": _digest(header), "generation": header.generation}
            put_private(file, canonical.encode(record) + b"\n")
            return ""
    return compare(header)


def compare(header: Header) -> str:
    """The same without remembering it: for a header that is not verified yet."""
    with contextlib.suppress(OSError, RuntimeError):
        file = _file(header)
        generation, digest = _read(file) or (0, "")
        if header.generation < generation:
            return (
                f"the vault's header (generation {header.generation}) is older than one met here before ({generation}): somebody put "
                f"an old copy back, and removed slots may open it again (if that was you, remove {file})"
            )
        if header.generation == generation and digest != _digest(header):
            return (
                f"the vault's header is another one than the one of the same generation ({generation}) met here before: somebody put "
                f"an old copy back and changed it (if that was you, remove {file})"
            )
    return ""


def _file(header: Header) -> Path:
    return state_dir() / "headers" / f"{header.vault_id.hex()}.json"


def _digest(header: Header) -> str:
    return hashlib.sha256(header.encode()).hexdigest()


def _read(file: Path) -> tuple[int, str] | None:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        data = os.read(descriptor, _MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    try:
        fields = members(canonical.decode(data.removesuffix(b"\n")), ("digest", "generation"), "a record")
        digest = string(fields["digest"], "digest")
        generation = integer(fields["generation"], 1, _MAX_GENERATION, "generation")
    except (canonical.NotCanonical, SchemaError):
        return None
    return (generation, digest) if _DIGEST.fullmatch(digest) else None
