"""The two copies of the header on disk: reading, and replacing them so that one sound copy is always there.

docs/format.md 1.1, 1.5 and 1.7. All names are taken relative to one descriptor of the directory that they are in.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator

from .envelope import MAX_FILE_BYTES, SealedHeader, encode_file, parse_file, verify_mac
from .errors import (
    HeaderAway,
    HeaderBusy,
    HeaderChanged,
    HeaderDamaged,
    HeaderMissing,
    HeaderTampered,
    HeaderTooNew,
    HeaderUnreadable,
    HeaderWriteFailed,
    KeyslotsError,
    NotAVault,
)
from .header import Header
from .place import BACKUP, MAIN, TREE, Place, Where, place_of
from .secret import Secret

__all__ = [
    "BACKUP",
    "LOCK_TIMEOUT_S",
    "MAIN",
    "TEMPORARY",
    "TREE",
    "Loaded",
    "Place",
    "Where",
    "copies",
    "load",
    "lock",
    "place_of",
    "remove_leftover",
    "replace",
    "rewrite_copy",
    "save",
    "save_new",
]

TEMPORARY = "phonevault.tmp."
LOCK_TIMEOUT_S = 5.0

_LOCK_POLL_S = 0.02
_NO_LOCKS = {errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""What flock(2) says on file systems that cannot lock a directory (NFS)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded:
    """What was read: the header with its MAC, not verified yet, and what the user should be told about it."""

    sealed: SealedHeader
    warnings: tuple[str, ...] = ()

    @property
    def header(self) -> Header:
        """The header, not verified yet."""
        return self.sealed.header


class _Missing(HeaderDamaged):
    """There is no such copy."""


_Copy = SealedHeader | HeaderDamaged | HeaderTampered | HeaderTooNew


@contextlib.contextmanager
def lock(where: Where, *, shared: bool = False, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[int]:
    """Hold the lock on the header and yield a descriptor of the directory it is in.

    Where the file system cannot lock a directory, there is no lock; `save` then still notices most races.

    Raises:
        HeaderBusy: another holder did not let go within `timeout_s` seconds.
        NotAVault: VAULT is no directory.
        HeaderAway: the directory of a header kept apart is not there.
        HeaderUnreadable: it may not be opened.
    """
    directory = _open_directory(place_of(where))
    try:
        _flock(directory, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, timeout_s)
        yield directory
    finally:
        with contextlib.suppress(OSError):  # nothing was written through it
            os.close(directory)


def load(where: Where) -> Loaded:
    """Read the header from whichever copy counts (docs/format.md 1.1).

    Raises:
        NotAVault: neither copy nor a tree is there.
        HeaderMissing: there is a tree without a header.
        HeaderAway: a header kept apart is not where it was said to be.
        HeaderDamaged: no sound copy is left.
        HeaderTampered: the copy that counts has a right checksum and breaks the schema.
        HeaderTooNew: it has an unknown version or flag.
        HeaderUnreadable: permission denied.
    """
    place = place_of(where)
    if place.apart and not place.tree.is_dir():
        raise NotAVault(f"no vault at {place.vault}: it has no tree")
    # The lock keeps a save from running between the two reads; without it a header is still read whole.
    try:
        with lock(place, shared=True, timeout_s=0.5) as directory:
            return _choose(directory, place)
    except HeaderBusy:
        directory = _open_directory(place)
        try:
            return _choose(directory, place)
        finally:
            os.close(directory)


def copies(where: Where) -> dict[str, SealedHeader | KeyslotsError | None]:
    """Read both copies: each as read (its MAC not verified), or what is wrong with it, or None if there is none.

    Returns:
        By name (`Place.main`, `Place.backup`).

    Raises:
        NotAVault, HeaderAway, HeaderBusy: as for `lock`.
        HeaderUnreadable: permission denied.
    """
    place = place_of(where)
    with lock(place, shared=True) as directory:
        found = {name: _read_copy(directory, name) for name in (place.main, place.backup)}
    return {name: None if isinstance(copy, _Missing) else copy for name, copy in found.items()}


def rewrite_copy(where: Where, name: str, key: Secret) -> None:
    """Write one copy anew, with the bytes of the other.

    Args:
        where: the vault.
        name: `Place.main` or `Place.backup`.
        key: header key of the other copy's current epoch.

    Raises:
        HeaderDamaged, HeaderTampered, HeaderTooNew: the other copy is not sound.
        HeaderBusy: the lock is held.
        HeaderWriteFailed: disk full, permission, I/O error; the other copy is untouched.
    """
    place = place_of(where)
    with lock(place) as directory:
        try:
            data = _read(directory, place.backup if name == place.main else place.main)
            verify_mac(parse_file(data), key)
            _replace(directory, name, data)
        except OSError as error:
            raise HeaderWriteFailed(f"the vault's header could not be written: {error.strerror}") from error


def remove_leftover(where: Where, name: str) -> None:
    """Remove a temporary file, or an empty directory, that an interrupted replacement left.

    Raises:
        HeaderBusy: the lock is held.
        HeaderWriteFailed: it cannot be removed.
    """
    if not name.startswith(TEMPORARY):
        raise ValueError("not a temporary name")
    with lock(where) as directory:
        try:
            try:
                os.unlink(name, dir_fd=directory)
            except IsADirectoryError:
                os.rmdir(name, dir_fd=directory)
        except OSError as error:
            raise HeaderWriteFailed(f"{name} cannot be removed: {error.strerror}") from error


def save(where: Where, header: Header, key: Secret, *, timeout_s: float = LOCK_TIMEOUT_S) -> Header:
    """Replace both copies by `header` with the next generation, and return that.

    Args:
        where: the vault.
        header: as loaded and changed, its generation still the one on disk.
        key: header key of its current epoch (`keyslots.derive.header_key`).
        timeout_s: how long to wait for the lock, in seconds.

    Raises:
        HeaderChanged: another generation or another vault is on disk.
        HeaderBusy: the lock is held.
        HeaderAway: it is kept apart, and not there any more.
        HeaderWriteFailed: disk full, permission, I/O error; a sound copy, old or new, is left.
        BadParameter: the header breaks its own schema.
        HeaderDamaged, HeaderTampered, HeaderTooNew: what is on disk cannot be read.
    """
    place = place_of(where)
    with lock(place, timeout_s=timeout_s) as directory:
        found = _choose(directory, place).header
        if (found.vault_id, found.generation) != (header.vault_id, header.generation):
            raise HeaderChanged("the vault's header was changed by another command")
        written = dataclasses.replace(header, generation=header.generation + 1)
        _write_copies(directory, place, encode_file(written, key))
        return written


def save_new(where: Where, header: Header, key: Secret) -> None:
    """Write both copies of a new vault's header, as it is.

    Raises:
        HeaderChanged: a header is there already.
        HeaderBusy, HeaderWriteFailed, BadParameter: as for `save`.
    """
    place = place_of(where)
    with lock(place) as directory:
        if not {place.main, place.backup}.isdisjoint(os.listdir(directory)):
            raise HeaderChanged("a vault is here already" if not place.apart else "a file is there already")
        _write_copies(directory, place, encode_file(header, key))


def replace(where: Where, header: Header, key: Secret, *, expected: SealedHeader | None) -> None:
    """Write both copies of a header that was proved on this vault's tree, over whatever is there.

    Args:
        where: the vault.
        header: as it is to be written.
        key: header key of its current epoch.
        expected: the sound header that is to be replaced; None if no sound copy is left.

    Raises:
        HeaderChanged: something else is on disk than `expected`.
        HeaderBusy, HeaderWriteFailed, BadParameter: as for `save`.
    """
    place = place_of(where)
    with lock(place) as directory:
        try:
            found: SealedHeader | None = _choose(directory, place).sealed
        except (HeaderDamaged, HeaderTampered, HeaderAway):
            found = None
        if found != expected:
            raise HeaderChanged("the vault's header was changed by another command")
        _write_copies(directory, place, encode_file(header, key))


def _open_directory(place: Place) -> int:
    try:
        return os.open(place.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        if place.apart:
            raise HeaderAway(f"the header {place.shown} is not there") from error
        raise NotAVault(f"no vault at {place.vault}") from error
    except OSError as error:
        raise HeaderUnreadable(f"cannot open {place.directory}: {error.strerror}") from error


def _flock(directory: int, operation: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(directory, operation | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return
            if error.errno not in (errno.EAGAIN, errno.EINTR):
                raise HeaderUnreadable(f"cannot lock the vault's header: {error.strerror}") from error
        if time.monotonic() >= deadline:
            raise HeaderBusy("another command is using the vault's header")
        time.sleep(_LOCK_POLL_S)


def _choose(directory: int, place: Place) -> Loaded:
    main, backup = _read_copy(directory, place.main), _read_copy(directory, place.backup)
    if isinstance(main, SealedHeader):
        return Loaded(main, _compare(place, main, backup))
    if not isinstance(main, HeaderDamaged):
        raise main
    what = "is missing" if isinstance(main, _Missing) else "is damaged"
    if isinstance(backup, SealedHeader):
        return Loaded(backup, (f"{place.main} {what}: its second copy, {place.backup}, was used",))
    if not isinstance(backup, HeaderDamaged):
        raise backup
    if isinstance(main, _Missing) and isinstance(backup, _Missing):
        raise _no_header(directory, place)
    raise HeaderDamaged("both copies of the vault's header are damaged or missing")


def _no_header(directory: int, place: Place) -> KeyslotsError:
    if place.apart:
        return HeaderAway(f"the header {place.shown} is not there")
    if _stat(directory, TREE) is None:
        return NotAVault("this folder is no vault")
    return HeaderMissing("the vault has no header: both copies are missing, or it is kept apart")


def _compare(place: Place, main: SealedHeader, backup: _Copy) -> tuple[str, ...]:
    if isinstance(backup, SealedHeader):
        if backup == main:
            return ()
        generations = f"generation {main.header.generation} and {backup.header.generation}"
        return (f"the two copies of the header differ ({generations}): {place.main} was used",)
    if isinstance(backup, _Missing):
        return (f"the header's second copy, {place.backup}, is missing",)
    what = "damaged" if isinstance(backup, HeaderDamaged) else "not valid"
    return (f"the header's second copy, {place.backup}, is {what}",)


def _read_copy(directory: int, name: str) -> _Copy:
    try:
        return parse_file(_read(directory, name))
    except FileNotFoundError:
        return _Missing(f"{name} is missing")
    except PermissionError as error:
        raise HeaderUnreadable(f"cannot read {name}: {error.strerror}") from error
    except OSError as error:  # a symbolic link or directory in its place, an unreadable block
        return HeaderDamaged(f"{name} cannot be read: {error.strerror}")
    except (HeaderDamaged, HeaderTampered, HeaderTooNew) as error:
        return error


def _read(directory: int, name: str) -> bytes:
    """Read a file of at most 1 MiB; a longer one is refused unread."""
    # O_NONBLOCK: a FIFO put in the place of a header must not hang the reader.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=directory)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise HeaderDamaged(f"{name} is no regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise HeaderDamaged(f"{name} is longer than 1 MiB")
        data = bytearray()
        while len(data) <= MAX_FILE_BYTES:
            chunk = os.read(descriptor, 65536)
            if not chunk:
                break
            data += chunk
        return bytes(data)
    finally:
        os.close(descriptor)


def _stat(directory: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _write_copies(directory: int, place: Place, data: bytes) -> None:
    try:
        _remove_leftovers(directory)
        for name in (place.backup, place.main):
            _replace(directory, name, data)
    except OSError as error:
        raise HeaderWriteFailed(f"the vault's header could not be written: {error.strerror}") from error


def _replace(directory: int, name: str, data: bytes) -> None:
    """Replace `name` by `data` in one step: at any moment it holds the old or the new bytes."""
    before = _stat(directory, name)
    temporary = TEMPORARY + os.urandom(8).hex()
    descriptor = os.open(
        temporary,
        os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
        0o600,
        dir_fd=directory,
    )
    try:
        try:
            _keep_owner(descriptor, before)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    os.fsync(directory)


def _keep_owner(descriptor: int, before: os.stat_result | None) -> None:
    """Give the new file the old one's owner and mode, so that root does not lock a user out of the vault."""
    if before is None or not stat.S_ISREG(before.st_mode):
        return
    now = os.fstat(descriptor)
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, before.st_uid, before.st_gid)
    with contextlib.suppress(PermissionError):  # FAT, as on a stick, knows no modes
        os.fchmod(descriptor, stat.S_IMODE(before.st_mode) & 0o666)


def _remove_leftovers(directory: int) -> None:
    """Remove temporary files that an interrupted replacement left. Only called under the lock."""
    for name in os.listdir(directory):
        if name.startswith(TEMPORARY):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=directory)
