"""When a slot last opened its vault: a record of this user on this computer, never in the header.

The header does not change when a vault is opened. So each slot has one small file below the state directory, replaced in
one step. It holds no secret and nothing depends on it: whatever is wrong with it means that nothing is known, and what
cannot be written is left.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from keyslots import canonical
from keyslots.build import now
from keyslots.header import Header, Slot, point_in_time
from keyslots.schema import SchemaError, members, string
from phonevault.errors import SettingsError
from phonevault.paths import private_dir, put_private, state_dir

_MAX_BYTES = 256


def note_use(header: Header, slot: Slot) -> None:
    """Record that a slot has just opened its vault. Never fails."""
    with contextlib.suppress(OSError, SettingsError, RuntimeError):  # RuntimeError: a user without a home
        file = _file(header, slot)
        private_dir(file.parent)
        put_private(file, canonical.encode({"created": slot.created, "used": now()}) + b"\n")


def last_use(header: Header, slot: Slot) -> str | None:
    """Return when the slot last opened its vault here (UTC, as the header writes it), or None if that is not known."""
    try:
        data = _read(_file(header, slot))
        if not data.endswith(b"\n"):
            return None
        fields = members(canonical.decode(data[:-1]), ("created", "used"), "a record")
        if string(fields["created"], "created") != slot.created:
            return None  # of another slot that had this number before
        return point_in_time(fields["used"], "used")
    except (OSError, RuntimeError, canonical.NotCanonical, SchemaError):
        return None


def _file(header: Header, slot: Slot) -> Path:
    return state_dir() / "slots" / f"{header.vault_id.hex()}-{slot.id}.json"


def _read(file: Path) -> bytes:
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b""
        data = os.read(descriptor, _MAX_BYTES + 1)
        return data if len(data) <= _MAX_BYTES else b""
    finally:
        os.close(descriptor)
