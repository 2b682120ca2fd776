"""Extended attributes of one object from the older key to the newer one: the new one is there before the old one goes."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from keyslots.memory import wipe
from phonevault.fs.errors import Damaged, XattrDamaged
from phonevault.fs.format.rotation import ATTRIBUTE, Part
from phonevault.fs.format.xattrs import TRUSTED_PREFIX, USER_PREFIX, VALUE_MAX_BYTES, encoded_part, is_long
from phonevault.fs.keys import NameCiphers, TreeKeys
from phonevault.fs.nodes import PathHandle, pinned
from phonevault.fs.rotation.store import RotationStore
from phonevault.fs.xattr_store import path_of, permitted

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.E2BIG)


def convert_attributes(keys: TreeKeys, store: RotationStore, directory_fd: int, stored: str) -> int:
    """Seal the attributes of an entry anew.

    Returns:
        How many there were to do.

    Raises:
        XattrDamaged: one opens under neither key; the others are done.
        OSError: of the backing store.
    """
    try:
        found = os.listxattr(f"/proc/self/fd/{directory_fd}/{stored}", follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOENT):
            return 0
        raise
    if not any(name.startswith((USER_PREFIX, TRUSTED_PREFIX)) for name in found):
        return 0
    return convert_attributes_of(keys, store, pinned(directory_fd, stored), found)


def convert_attributes_of(keys: TreeKeys, store: RotationStore, pin: PathHandle, found: list[str]) -> int:
    """The same for an object that a descriptor leads to."""
    done, damaged = 0, None
    for name in found:
        prefix = next((one for one in (USER_PREFIX, TRUSTED_PREFIX) if name.startswith(one)), None)
        if prefix is not None:
            try:
                done += _convert(keys, store, pin, prefix, name)
            except XattrDamaged as error:
                damaged = error
    if damaged is not None:
        raise damaged
    return done


def _convert(keys: TreeKeys, store: RotationStore, pin: PathHandle, prefix: str, stored: str) -> bool:
    path, encoded = path_of(pin.fd), encoded_part(stored, prefix) or ""
    raw = permitted(path, lambda: os.getxattr(path, stored))
    room = memoryview(bytearray(VALUE_MAX_BYTES))
    try:
        if _opens(keys.newer, encoded, raw, room) or keys.older is None:
            return False
        seals = keys.older.xattrs
        name = seals.decode(encoded, raw)
        sealed = keys.xattrs.seal(name, seals.open(name, raw, room))
    finally:
        wipe(room)
    new = prefix + keys.xattrs.encode(name)
    if new not in os.listxattr(path):
        _put(store, path, pin.fd, (stored, raw), (new, sealed))
    with contextlib.suppress(OSError):
        permitted(path, lambda: os.removexattr(path, stored))
    if stored in os.listxattr(path):
        raise OSError(errno.EIO, "an extended attribute cannot be removed", stored)
    return True


def _opens(ciphers: NameCiphers, encoded: str, raw: bytes, room: memoryview) -> bool:
    try:
        ciphers.xattrs.open(ciphers.xattrs.decode(encoded, raw if is_long(encoded) else b""), raw, room)
    except Damaged:
        return False
    return True


def _put(store: RotationStore, path: str, fd: int, old: tuple[str, bytes], new: tuple[str, bytes]) -> None:
    try:
        permitted(path, lambda: os.setxattr(path, *new))
        return
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
    # No room for both: the old one is kept in a log while neither is there.
    status = os.fstat(fd)
    extents = [(0, os.fsencode(old[0])), (0, old[1]), (0, os.fsencode(new[0]))]
    part = Part(ATTRIBUTE, status.st_ino, stat.S_IMODE(status.st_mode), 0, 0, extents=[*extents])
    store.attributes.write([part])
    permitted(path, lambda: os.removexattr(path, old[0]))
    try:
        permitted(path, lambda: os.setxattr(path, *new))
        _bring_home(fd, path)
    except OSError:
        permitted(path, lambda: os.setxattr(path, *old))
        store.attributes.clear()
        raise
    store.attributes.clear()


def _bring_home(fd: int, path: str) -> None:
    """What has no descriptor to sync (a fifo, a link) is brought home with all else."""
    if stat.S_ISREG(os.fstat(fd).st_mode) or stat.S_ISDIR(os.fstat(fd).st_mode):
        again = permitted(path, lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        try:
            os.fsync(again)
        finally:
            os.close(again)
    else:
        os.sync()
