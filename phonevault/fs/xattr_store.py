"""Extended attributes of ciphertext objects: read, written and listed, through a descriptor that pins the object."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Callable, Sequence
from typing import TypeVar

from phonevault.fs.access import made_accessible
from phonevault.fs.errors import Damaged
from phonevault.fs.format.xattrs import (
    CAPABILITY,
    TRUSTED_PREFIX,
    USER_PREFIX,
    VALUE_MAX_BYTES,
    XattrSeals,
    encoded_part,
    is_long,
)  # fmt: skip
from phonevault.fs.keys import TreeKeys

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_ABSENT = (errno.ENODATA, errno.EOPNOTSUPP)


Ciphertext = int | str
"""An object: an open descriptor, or the path in /proc of an O_PATH one (:func:`path_of`)."""


class XattrStore:
    """The attributes of one tree's objects. ``mode`` is an object's mode, or its type bits alone.

    Args:
        keys: gives the tree's keys, or raises `KeysMissing`.
        available: whether the backing store has user attributes.
    """

    def __init__(self, keys: Callable[[], TreeKeys], *, available: bool) -> None:
        self._keys = keys
        self.available = available

    def get(self, ciphertext: Ciphertext, mode: int, name: bytes, room: memoryview) -> memoryview:
        """A value, as a slice of ``room``.

        Raises:
            OSError: ENODATA.
            XattrDamaged: it does not open.
        """
        seals, raw = self._stored_value(ciphertext, mode, name)
        return seals.open(name, raw, room)

    def find(self, ciphertext: Ciphertext, mode: int, name: bytes) -> bytes | None:
        """A value, or None."""
        try:
            seals, raw = self._stored_value(ciphertext, mode, name)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        return bytes(seals.open(name, raw, memoryview(bytearray(len(raw)))))

    def set(
        self, ciphertext: Ciphertext, mode: int, name: bytes, value: bytes | memoryview, flags: int = 0
    ) -> None:
        """Set a value; ``flags`` as of setxattr(2).

        Raises:
            OSError: of the backing store: ENOSPC, EEXIST, ENODATA, …; EOPNOTSUPP on an object that can have none here.
        """
        keys = self._keys()
        stored, sealed = self._prefix(mode) + keys.xattrs.encode(name), keys.xattrs.seal(name, value)
        if len(sealed) > VALUE_MAX_BYTES:
            raise OSError(errno.ENOSPC, "the attribute is too long once encrypted")
        older = self._older_name(keys, ciphertext, mode, name)
        if older is not None:
            if flags & os.XATTR_CREATE:
                raise FileExistsError(errno.EEXIST, "the attribute exists")
            flags = 0
        _change(ciphertext, mode, lambda: os.setxattr(ciphertext, stored, sealed, flags))
        if older is not None:
            # The newer one counts from here on.
            _change(ciphertext, mode, lambda: os.removexattr(ciphertext, older))

    def remove(self, ciphertext: Ciphertext, mode: int, name: bytes) -> None:
        """Remove an attribute.

        Raises:
            OSError: ENODATA; EOPNOTSUPP on an object that can have none here.
        """
        keys = self._keys()
        older = self._older_name(keys, ciphertext, mode, name)
        if older is not None:
            # First: it must not come to light again.
            _change(ciphertext, mode, lambda: os.removexattr(ciphertext, older))
        stored = self._prefix(mode) + keys.xattrs.encode(name)
        try:
            _change(ciphertext, mode, lambda: os.removexattr(ciphertext, stored))
        except OSError as error:
            if older is None or error.errno != errno.ENODATA:
                raise

    def discard(self, ciphertext: Ciphertext, mode: int, name: bytes) -> None:
        """Remove an attribute that need not be there."""
        try:
            self.remove(ciphertext, mode, name)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise

    def drop_capability(self, ciphertext: Ciphertext) -> None:
        """What a change of owner, size or contents does to a program's file capabilities (HANDLE_KILLPRIV_V2)."""
        if self.available:
            self.discard(ciphertext, stat.S_IFREG, CAPABILITY)

    def names(self, ciphertext: Ciphertext, mode: int) -> list[bytes]:
        """The names that decrypt; one that does not is told to the log and left out."""
        keys, prefix = self._keys(), self._prefix(mode)
        both = (keys.newer, *(() if keys.older is None else (keys.older,)))
        found: dict[bytes, None] = {}
        for stored in os.listxattr(ciphertext):
            encoded = encoded_part(stored, prefix)
            if encoded is None:
                continue
            name = self._name(ciphertext, stored, encoded, [ciphers.xattrs for ciphers in both])
            if name is not None:
                found[name] = None
        return list(found)

    def _name(
        self, ciphertext: Ciphertext, stored: str, encoded: str, seals: Sequence[XattrSeals]
    ) -> bytes | None:
        try:
            raw = self._fetch(ciphertext, stored) if is_long(encoded) else b""
        except Damaged:
            raw = b""
        for one in seals:
            with contextlib.suppress(Damaged):
                return one.decode(encoded, raw)
        log.warning("inode %d: an extended attribute's name does not decrypt", os.stat(ciphertext).st_ino)
        return None

    def _stored_value(self, ciphertext: Ciphertext, mode: int, name: bytes) -> tuple[XattrSeals, bytes]:
        """The stored value under the newer key, or else under the older one, and what opens it."""
        keys = self._keys()
        try:
            return keys.xattrs, self._fetch(ciphertext, self._prefix(mode) + keys.xattrs.encode(name))
        except OSError as error:
            if keys.older is None or error.errno != errno.ENODATA:
                raise
        seals = keys.older.xattrs
        return seals, self._fetch(ciphertext, self._prefix(mode) + seals.encode(name))

    def _older_name(self, keys: TreeKeys, ciphertext: Ciphertext, mode: int, name: bytes) -> str | None:
        """Under what name an attribute is stored that a rotation of contents has not come to yet; None if there is none."""
        if keys.older is None:
            return None
        stored = self._prefix(mode) + keys.older.xattrs.encode(name)
        try:
            self._fetch(ciphertext, stored)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        return stored

    @staticmethod
    def _fetch(ciphertext: Ciphertext, stored: str) -> bytes:
        return permitted(ciphertext, lambda: os.getxattr(ciphertext, stored))

    @staticmethod
    def _prefix(mode: int) -> str:
        return TRUSTED_PREFIX if is_special(mode) else USER_PREFIX


def is_special(mode: int) -> bool:
    """Whether an object is of a type that Linux allows no user attributes. Trusted ones need a daemon with CAP_SYS_ADMIN."""
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def carries_xattrs(directory: os.PathLike[str]) -> bool:
    """Whether the file system of a directory has user attributes."""
    try:
        os.getxattr(directory, USER_PREFIX + "probe")
    except OSError as error:
        return error.errno != errno.EOPNOTSUPP
    return True


def path_of(fd: int) -> str:
    """A path that leads to the object of a descriptor, whatever it is: a link is not followed."""
    return f"/proc/self/fd/{fd}"


def _change(ciphertext: Ciphertext, mode: int, act: Callable[[], None]) -> None:
    try:
        permitted(ciphertext, act)
    except PermissionError:
        if is_special(mode):
            raise OSError(errno.EOPNOTSUPP, "this kind of object can have no attributes here") from None
        raise


def permitted(ciphertext: Ciphertext, act: Callable[[], _T]) -> _T:
    """What the owner may do whatever the mode: Linux asks for the right to read or write for user attributes, not for lists."""
    try:
        return act()
    except PermissionError as error:
        if error.errno != errno.EACCES:
            raise
    with made_accessible(ciphertext):
        return act()
