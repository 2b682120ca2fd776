"""Extended attributes of one object (docs/format.md 6)."""

from __future__ import annotations

import os

from phonevault.check.findings import Code, Flaw
from phonevault.fs.errors import Damaged
from phonevault.fs.format.xattrs import (
    TRUSTED_PREFIX,
    USER_PREFIX,
    VALUE_MAX_BYTES,
    XattrSeals,
    encoded_part,
)
from phonevault.fs.keys import TreeKeys


class XattrChecker:
    """Checks objects one after the other, with the same buffer.

    Args:
        keys: of the volume key that names are encrypted with.
    """

    def __init__(self, keys: TreeKeys) -> None:
        self._seals = [ciphers.xattrs for ciphers in (keys.newer, keys.older) if ciphers is not None]
        self._room = memoryview(bytearray(VALUE_MAX_BYTES))

    def wipe(self) -> None:
        """Overwrite what was decrypted last."""
        self._room[:] = bytes(len(self._room))

    def check(self, stored: str, directory_fd: int) -> Flaw | None:
        """Open every attribute of ours; one that may not be read is passed over.

        Args:
            stored: the object's name.
            directory_fd: of the directory it is in.
        """
        path = f"/proc/self/fd/{directory_fd}/{stored}"
        try:
            found = os.listxattr(path, follow_symlinks=False)
        except OSError:
            return None
        ours = [name for name in found if name.startswith((USER_PREFIX, TRUSTED_PREFIX))]
        bad = sum(not self._is_sound(path, name) for name in ours)
        return Flaw(Code.XATTR_DAMAGED, f"{bad} of {len(ours)}") if bad else None

    def _is_sound(self, path: str, name: str) -> bool:
        encoded = encoded_part(name, USER_PREFIX) or encoded_part(name, TRUSTED_PREFIX) or ""
        try:
            raw = os.getxattr(path, name, follow_symlinks=False)
        except OSError:
            return True
        return any(self._opens(seals, encoded, raw) for seals in self._seals)

    def _opens(self, seals: XattrSeals, encoded: str, raw: bytes) -> bool:
        try:
            seals.open(seals.decode(encoded, raw), raw, self._room)
        except Damaged:
            return False
        return True
