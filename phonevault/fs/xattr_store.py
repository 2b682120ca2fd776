"""Extended attributes of ciphertext objects: read, written and listed, through a descriptor that pins the object."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable
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

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_ABSENT = (errno.ENODATA, errno.EOPNOTSUPP)


Ciphertext = int | str
"""An object: an open descriptor, or the path in /proc of an O_PATH one (:func:`path_of`)."""


class XattrStore:
    """The attributes of one tree's objects. ``mode`` is an object's mode, or its type bits alone.

    Args:
        seals: gives the ciphers, or raises `KeysMissing`.
        available: whether the backing store has user attributes.
    """

    def __init__(self, seals: Callable[[], XattrSeals], *, available: bool) -> None:
        self._seals = seals
        self.available = available

    def get(self, ciphertext: Ciphertext, mode: int, name: bytes, room: memoryview) -> memoryview:
        """A value, as a slice of ``room``.

        Raises:
            OSError: ENODATA.
            XattrDamaged: it does not open.
        """
        return self._seals().open(name, self._raw(ciphertext, mode, name), room)

    def find(self, ciphertext: Ciphertext, mode: int, name: bytes) -> bytes | None:
        """A value, or None."""
        try:
            raw = self._raw(ciphertext, mode, name)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        return bytes(self._seals().open(name, raw, memoryview(bytearray(len(raw)))))

    def set(
        self, ciphertext: Ciphertext, mode: int, name: bytes, value: bytes | memoryview, flags: int = 0
    ) -> None:
        """Set a value; ``flags`` as of setxattr(2).

        Raises:
            OSError: of the backing store: ENOSPC, EEXIST, ENODATA, …; EOPNOTSUPP on an object that can have none here.
        """
        stored, sealed = self._stored(mode, name), self._seals().seal(name, value)
        if len(sealed) > VALUE_MAX_BYTES:
            raise OSError(errno.ENOSPC, "the attribute is too long once encrypted")
        _change(ciphertext, mode, lambda: os.setxattr(ciphertext, stored, sealed, flags))

    def remove(self, ciphertext: Ciphertext, mode: int, name: bytes) -> None:
        """Remove an attribute.

        Raises:
            OSError: ENODATA; EOPNOTSUPP on an object that can have none here.
        """
        stored = self._stored(mode, name)
        _change(ciphertext, mode, lambda: os.removexattr(ciphertext, stored))

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
        seals, prefix = self._seals(), self._prefix(mode)
        found = []
        for stored in os.listxattr(ciphertext):
            encoded = encoded_part(stored, prefix)
            if encoded is None:
                continue
            try:
                raw = self._fetch(ciphertext, stored) if is_long(encoded) else b""
                found.append(seals.decode(encoded, raw))
            except Damaged:
                inode = os.stat(ciphertext).st_ino
                log.warning("inode %d: an extended attribute's name does not decrypt", inode)
        return found

    def _raw(self, ciphertext: Ciphertext, mode: int, name: bytes) -> bytes:
        return self._fetch(ciphertext, self._stored(mode, name))

    @staticmethod
    def _fetch(ciphertext: Ciphertext, stored: str) -> bytes:
        return _permitted(ciphertext, lambda: os.getxattr(ciphertext, stored))

    def _stored(self, mode: int, name: bytes) -> str:
        return self._prefix(mode) + self._seals().encode(name)

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
        _permitted(ciphertext, act)
    except PermissionError:
        if is_special(mode):
            raise OSError(errno.EOPNOTSUPP, "this kind of object can have no attributes here") from None
        raise


def _permitted(ciphertext: Ciphertext, act: Callable[[], _T]) -> _T:
    """What the owner may do whatever the mode: Linux asks for the right to read or write for user attributes, not for lists."""
    try:
        return act()
    except PermissionError as error:
        if error.errno != errno.EACCES:
            raise
    with made_accessible(ciphertext):
        return act()
