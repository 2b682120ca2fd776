"""Names found in a ciphertext directory: what each stands for, and whether it decrypts (docs/format.md 2)."""

from __future__ import annotations

import errno
import os
import re
from enum import Enum, auto

from phonevault.check.findings import Code, Flaw
from phonevault.check.keys import CheckKeys
from phonevault.fs.errors import Damaged, NameDamaged
from phonevault.fs.format import names
from phonevault.fs.small_files import read_small

_TEMPORARY = re.compile(re.escape(names.TEMPORARY_PREFIX) + r"[0-9a-f]{16}\Z")
_LONG = re.compile(re.escape(names.LONG_PREFIX) + r"[A-Za-z0-9_-]{43}\Z")
_LEAST_BYTES = 17
"""Of an encrypted name: a tag of 16 bytes and one of the name."""


class Role(Enum):
    """What a stored name stands for, by its form alone."""

    ENTRY = auto()
    LONG_ENTRY = auto()
    SIDECAR = auto()
    DIRECTORY_ID = auto()
    TEMPORARY = auto()
    FOREIGN = auto()


def role_of(stored: str) -> Role:
    """Tell what a name in a ciphertext directory stands for."""
    if "." not in stored:
        return Role.ENTRY if _is_encrypted_name(stored) else Role.FOREIGN
    if stored == names.DIRECTORY_ID_FILE:
        return Role.DIRECTORY_ID
    if _TEMPORARY.match(stored):
        return Role.TEMPORARY
    if _LONG.match(stored):
        return Role.LONG_ENTRY
    if stored.endswith(names.LONG_SUFFIX) and _LONG.match(stored.removesuffix(names.LONG_SUFFIX)):
        return Role.SIDECAR
    return Role.FOREIGN


def read_name(
    keys: CheckKeys, directory_id: bytes, directory_fd: int, stored: str, role: Role
) -> tuple[bytes | None, Flaw | None]:
    """The plaintext name of an entry, or why it has none."""
    encoded = stored
    if role is Role.LONG_ENTRY:
        found = read_sidecar(directory_fd, stored + names.LONG_SUFFIX)
        if isinstance(found, Flaw):
            return None, found
        encoded = found
        if names.stored_name(encoded) != stored:
            return None, Flaw(Code.LONG_NAME_DAMAGED, "its hash is that of another name")
    try:
        return keys.open_name(directory_id, encoded), None
    except NameDamaged:
        return None, Flaw(Code.NAME_DAMAGED)


def read_sidecar(directory_fd: int, sidecar: str) -> str | Flaw:
    """The encoded name in a sidecar, not yet compared with its entry, or why there is none."""
    try:
        return read_small(sidecar, directory_fd).decode("ascii")
    except FileNotFoundError:
        return Flaw(Code.LONG_NAME_MISSING)
    except UnicodeDecodeError:
        return Flaw(Code.LONG_NAME_DAMAGED, "not ASCII")
    except Damaged as error:
        return Flaw(Code.LONG_NAME_DAMAGED, error.strerror or "")
    except OSError as error:
        return Flaw(Code.LONG_NAME_DAMAGED, os.strerror(error.errno or errno.EIO))


def _is_encrypted_name(stored: str) -> bool:
    try:
        return len(names.b64decode(stored)) >= _LEAST_BYTES
    except ValueError:
        return False
