"""Puts back what mounts that died left half done (docs/format.md 5). It needs no keys: all is ciphertext.

Journal bytes are as untrusted as the tree they lie beside. A record can do no more than who wrote it could do by hand: it names
a regular file of the tree by its inode and file id; nothing outside the tree is opened, and no link followed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from phonevault.fs.access import open_in
from phonevault.fs.format.journal import (
    FILE_ID_BYTES,
    FILE_NAME,
    GOING_BACK,
    PAGE_BYTES,
    JournalDamaged,
    Owner,
    Record,
    parse_owner,
    parse_slot,
)
from phonevault.fs.journal import boot_mark, host_mark
from phonevault.fs.walk import walk

log = logging.getLogger(__name__)

FILE_ID_AT = 12
"""Where a file's id is in its header."""
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


class RecoveryFailed(OSError):
    """What a dead mount left half done cannot be put back now; the journal keeps it."""

    def __init__(self, error: OSError, journal: Path, hint: str = "") -> None:
        super().__init__(error.errno, error.strerror, str(journal))
        self.hint = hint or "see that the vault's file system works and has room, then mount again"


@dataclass
class Recovered:
    """What was found.

    Attributes:
        put_back: changes that were half done, and are undone now.
        waiting: changes that would be looked at, if this were not a look only.
        dropped: names of journal files of no use: of an earlier run of this machine, copied, or damaged.
        foreign: names of those that another machine or, beside a shared mount, another user left.
    """

    put_back: int = 0
    waiting: int = 0
    dropped: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


@dataclass
class _Promise:
    """A record, and where its slot is."""

    record: Record
    journal_fd: int
    slot_at: int


def recover(journal: Path, tree: Path, *, shared: bool = False, look_only: bool = False) -> Recovered:
    """Put back every change under way in journals whose mount is gone, and remove them.

    Args:
        journal: ``VAULT/journal``; it need not exist.
        tree: ``VAULT/tree``.
        shared: other mounts may live, also those of users whose journals are closed to this one.
        look_only: change nothing, tell what is there. On a read-only store that is so anyway.

    Raises:
        RecoveryFailed: the backing store refused; what was not put back is still in the journal.
    """
    found = Recovered()
    try:
        directory = os.open(journal, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return found
    except OSError as error:
        return _refused(error, journal, found, go_on=shared or look_only)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, directory)
        try:
            look_only = look_only or bool(os.fstatvfs(directory).f_flag & os.ST_RDONLY)
            left = list(_left_behind(directory, found, stack, shared=shared, look_only=look_only))
            promises = [promise for _, some in left for promise in some]
            if look_only:
                found.waiting = len(promises)
                return found
            found.put_back = _put_all_back(promises, tree, shared=shared)
            for name, _ in left:
                os.unlink(name, dir_fd=directory)
        except OSError as error:
            return _refused(error, journal, found, go_on=shared)
    return found


def _refused(error: OSError, journal: Path, found: Recovered, *, go_on: bool) -> Recovered:
    """Journal or tree cannot be worked on. What is closed to this user does not stop one who may ``go_on`` beside others."""
    if not isinstance(error, PermissionError):
        raise RecoveryFailed(error, journal) from error
    if not go_on:
        hint = "another user mounted the vault last: mount it once as that user, or as root"
        raise RecoveryFailed(error, journal, hint) from error
    log.warning("journals of another user are left alone")
    return found


def put_back(fd: int, old: memoryview | bytes, offset: int, size: int) -> None:
    """Undo a change: the old ciphertext at ``offset``, the old length.

    Raises:
        OSError: of the backing store.
    """
    done = 0
    while done < len(old):
        done += os.pwrite(fd, old[done:], offset + done)
    if os.fstat(fd).st_size > size:
        os.ftruncate(fd, size)


def is_of(fd: int, file_id: bytes) -> bool:
    """Whether a ciphertext file has that id."""
    start = os.pread(fd, FILE_ID_AT + FILE_ID_BYTES, 0)
    return start[FILE_ID_AT:] == file_id


# -- journal files --------------------------------------------------------------------------------------------


def _left_behind(
    directory: int, found: Recovered, stack: contextlib.ExitStack, *, shared: bool, look_only: bool
) -> Iterator[tuple[str, list[_Promise]]]:
    """Name and promises of each journal of this machine's run whose owner is gone; its lock is held until ``stack`` ends."""
    flags = (os.O_RDONLY if look_only else os.O_RDWR) | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.scandir(directory) as entries:
        files = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    for name in sorted(filter(FILE_NAME.fullmatch, files)):
        try:
            fd = os.open(name, flags, dir_fd=directory)
        except FileNotFoundError:
            continue  # its mount ended meanwhile
        except PermissionError:
            if not shared:
                raise
            found.foreign.append(name)
            continue
        stack.callback(os.close, fd)
        if not _lock(fd):
            continue
        try:
            owner = parse_owner(os.pread(fd, PAGE_BYTES, 0))
            if owner.host != host_mark(name):
                # Before all else: a copy that a sync service brought must not be removed, which it would take back.
                found.foreign.append(name)
                continue
            _check_owner(owner, fd, name)
            yield name, _promises(fd, owner)
        except JournalDamaged as why:
            log.warning("journal %s is of no use: %s", name, why)
            found.dropped.append(name)
            if not look_only:
                os.unlink(name, dir_fd=directory)


def _lock(fd: int) -> bool:
    """Whether the journal's owner is gone. Where nothing can be locked, no mount has a journal."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def _check_owner(owner: Owner, fd: int, name: str) -> None:
    status = os.fstat(fd)
    if owner.inode != status.st_ino:
        raise JournalDamaged("a copy")
    if status.st_size != owner.file_bytes:
        raise JournalDamaged("its length is wrong")
    if owner.boot != boot_mark(name):
        raise JournalDamaged("of an earlier run of this machine")


def _promises(fd: int, owner: Owner) -> list[_Promise]:
    promises = []
    for number in range(owner.slots):
        at = owner.slot_at(number)
        record = parse_slot(os.pread(fd, PAGE_BYTES, at), owner.area_bytes)
        if record is not None:
            promises.append(_Promise(record, fd, at))
    return promises


# -- their targets --------------------------------------------------------------------------------------------


def _put_all_back(promises: list[_Promise], tree: Path, *, shared: bool) -> int:
    wanted = {promise.record.inode for promise in promises}
    if not wanted:
        return 0
    done = 0
    with contextlib.ExitStack() as stack:
        files = _files_of(tree, wanted, stack)
        for promise in promises:
            fd = files.get(promise.record.inode)
            if fd is None:
                continue  # it lost its last name: nobody can miss what was in it
            if shared:
                _take_turn(fd)
            if _is_half_done(fd, promise):
                _undo(fd, promise)
                done += 1
    return done


def _take_turn(fd: int) -> None:
    """Other hosts' requests on the file wait until it is closed, as those of a shared mount do."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _is_half_done(fd: int, promise: _Promise) -> bool:
    """Whether the change reached the file, and may lack a part: pages are written in ascending order, and a cut comes last."""
    record = promise.record
    if not is_of(fd, record.file_id) or os.fstat(fd).st_size < record.size:
        return False
    if record.going_back:
        return True
    return os.pread(fd, len(record.head), record.offset) == record.head and not _has_grown(fd, promise)


def _has_grown(fd: int, promise: _Promise) -> bool:
    """Whether the change is whole for sure: it made the file longer, and did not stop at the end of a page.

    Then it must not be undone: another host may have appended since. All that was there before is written over by then, which
    the last page of it shows.
    """
    record = promise.record
    size = os.fstat(fd).st_size
    if size <= record.size or size % PAGE_BYTES == 0:
        return False
    end = record.offset + record.old_bytes
    last = max(record.offset, (end - 1) // PAGE_BYTES * PAGE_BYTES)
    old = os.pread(promise.journal_fd, end - last, promise.slot_at + PAGE_BYTES + last - record.offset)
    return not old or os.pread(fd, end - last, last) != old


def _undo(fd: int, promise: _Promise) -> None:
    record = promise.record
    old = os.pread(promise.journal_fd, record.old_bytes, promise.slot_at + PAGE_BYTES)
    if len(old) != record.old_bytes:
        raise OSError(errno.EIO, "the journal is cut short")
    # Once some of the old bytes are back, the file does not show any more that the change had begun.
    os.pwrite(promise.journal_fd, bytes([GOING_BACK]), promise.slot_at)
    put_back(fd, old, record.offset, record.size)
    os.fsync(fd)
    log.warning("inode %d: a change that was cut short at %d is undone", record.inode, record.offset)


def _files_of(tree: Path, wanted: set[int], stack: contextlib.ExitStack) -> dict[int, int]:
    """Descriptors of the tree's regular files with those inode numbers."""
    found: dict[int, int] = {}
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.closing(walk(tree)) as entries:
        for directory_fd, entry in entries:
            inode = entry.inode()
            if inode not in wanted or inode in found or not entry.is_file(follow_symlinks=False):
                continue
            try:
                fd = open_in(directory_fd, entry.name, flags)
            except FileNotFoundError:
                continue  # removed meanwhile, by another mount
            stack.callback(os.close, fd)
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode) and status.st_ino == inode:
                found[inode] = fd
            if len(found) == len(wanted):
                break
    return found
