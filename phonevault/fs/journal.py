"""The rollback journal: before a change that could be torn, what it replaces is kept where the death of this process leaves it.

A slot is memory of a file in the vault, mapped shared: what is stored there is in the kernel's hands at once, in the order of
the stores, whatever becomes of the process. :mod:`phonevault.fs.recovery` puts back what was under way.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import mmap
import os
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path

from phonevault.fs.format.journal import (
    FREE,
    GOING_BACK,
    PAGE_BYTES,
    UNDER_WAY,
    Owner,
    mark,
    pack_record,
)
from phonevault.fs.syscalls import fallocate, set_no_copy_on_write

log = logging.getLogger(__name__)

SLOTS = 3
"""Changes under way at a time: one for each worker, and one for a request that waited. More wait for a slot."""
_TRIES = 8
_DIRECTORY_MODE = 0o775
"""Those who may write in the vault make their journals there, but never all the world."""


class Slot:
    """Room for what one change replaces.

    Attributes:
        old: at least as long as the ciphertext of one request.
    """

    __slots__ = ("_page", "held", "old")

    def __init__(self, memory: memoryview) -> None:
        self._page = memory[:PAGE_BYTES]
        self.old = memory[PAGE_BYTES:]
        self.held = False

    def begin(
        self, inode: int, offset: int, size: int, old_bytes: int, file_id: bytes, new: memoryview
    ) -> None:
        """From now on the change is put back unless :meth:`end` is reached. ``old`` is filled already."""
        pack_record(self._page, inode, offset, size, old_bytes, file_id, new)
        self._page[0] = UNDER_WAY

    @property
    def free(self) -> bool:
        """Whether nothing is kept in it."""
        return self._page[0] == FREE

    def go_back(self) -> None:
        """The change failed, and its undoing begins."""
        self._page[0] = GOING_BACK

    def end(self) -> None:
        """The change is whole, or undone."""
        self._page[0] = FREE


@dataclass(frozen=True)
class Held:
    """A change that could not be undone yet.

    Attributes:
        slot: keeps it.
        old: what is to be put back.
        offset: where.
        size: length that the file had.
        file_id: of the file.
    """

    slot: Slot
    old: memoryview
    offset: int
    size: int
    file_id: bytes


class Journal:
    """The slots of one mount.

    Args:
        memory: laid out as a journal file.
        owner: the layout.
        path: of the journal file; None if the memory is this process's own and dies with it.
        fd: of the journal file, which holds its lock.
        safe: the death of this process at any moment loses nothing.
    """

    def __init__(
        self, memory: mmap.mmap, owner: Owner, path: Path | None = None, fd: int = -1, *, safe: bool = True
    ) -> None:
        self.safe = safe
        self._area_bytes = owner.area_bytes
        self._path = path
        self._fd = fd
        view = memoryview(memory)
        self._slots = [Slot(view[owner.slot_at(n) : owner.slot_at(n + 1)]) for n in range(owner.slots)]
        self._free = list(self._slots)
        self._returned = threading.Condition()
        self._waiting = 0
        self.held: dict[int, Held] = {}
        """By inode: changes that could neither be finished nor be undone."""

    def take(self) -> Slot:
        """A free slot, until it is given back; waits for one."""
        while True:
            try:
                return self._free.pop()
            except IndexError:
                self._wait_for_one()

    def _wait_for_one(self) -> None:
        """Until there is a free slot; another thread may be quicker to take it."""
        with self._returned:
            self._waiting += 1
            try:
                while not self._free:
                    self._returned.wait()
            finally:
                self._waiting -= 1

    def give_back(self, slot: Slot) -> None:
        """The slot may be used again; one that is held is replaced by memory of this process."""
        if slot.held:
            slot = Slot(memoryview(mmap.mmap(-1, PAGE_BYTES + self._area_bytes)))
        self._free.append(slot)
        if self._waiting:
            with self._returned:
                self._returned.notify()

    def hold(self, inode: int, held: Held) -> None:
        """Keep a slot until its change can be undone: by this mount, or by the next."""
        held.slot.held = True
        self.held[inode] = held

    def let_go(self, inode: int) -> None:
        """What was held is undone; its slot is not used again."""
        self.held.pop(inode).slot.end()

    def close(self) -> None:
        """After the last request: remove the file, unless something waits in it."""
        path, self._path = self._path, None
        if path is None:
            return
        if all(slot.free for slot in self._slots):
            with contextlib.suppress(OSError):
                path.unlink()
            with contextlib.suppress(OSError):
                path.parent.rmdir()
        # The mapping keeps a descriptor, and with it the lock, for as long as there are views of it.
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)


def journal_in(directory: Path | None, area_bytes: int) -> Journal:
    """A journal file in that directory; where there can be none, this is told to the log, and the slots are volatile.

    A mount that changes nothing (without a directory, or on a read-only store) needs none.
    """
    if directory is None or os.statvfs(directory.parent).f_flag & os.ST_RDONLY:
        return volatile_journal(area_bytes, safe=True)
    try:
        return open_journal(directory, area_bytes)
    except OSError as error:
        log.warning("no journal: a kill -9 in the middle of a write can damage a block: %s", error.strerror)
        return volatile_journal(area_bytes)


def volatile_journal(area_bytes: int, *, safe: bool = False) -> Journal:
    """Slots in this process's own memory: they undo a failed change, but do not outlive a ``kill -9``.

    Args:
        area_bytes: ciphertext of one request.
        safe: nothing will be changed, so nothing can be torn.
    """
    owner = Owner(SLOTS, _whole_pages(area_bytes), 0, bytes(16), bytes(16))
    return Journal(mmap.mmap(-1, owner.file_bytes), owner, safe=safe)


def open_journal(directory: Path, area_bytes: int) -> Journal:
    """A new journal file, locked.

    Args:
        directory: ``VAULT/journal``; made if it is missing.
        area_bytes: ciphertext of one request.

    Raises:
        OSError: the backing store has no locks, cannot reserve room, has none, or does not let us in.
    """
    for _ in range(_TRIES):
        with contextlib.suppress(FileExistsError):
            directory.mkdir(directory.parent.stat().st_mode & _DIRECTORY_MODE)
        path = directory / secrets.token_hex(8)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # another mount ended, and took the empty directory with it
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:
                return _furnished(fd, path, _whole_pages(area_bytes))
        except BlockingIOError:
            pass  # another mount looks at it, and takes it for a dead one's
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(fd)
            raise
        os.close(fd)
    raise OSError(errno.EAGAIN, "no journal file could be locked", str(directory))


def _furnished(fd: int, path: Path, area_bytes: int) -> Journal:
    """Reserve the file's room, so that a full disk cannot kill this process at a store, and map it."""
    owner = Owner(SLOTS, area_bytes, os.fstat(fd).st_ino, host_mark(path.name), boot_mark(path.name))
    set_no_copy_on_write(fd)
    fallocate(fd, 0, 0, owner.file_bytes)
    memory = mmap.mmap(fd, owner.file_bytes, mmap.MAP_SHARED)
    memory[:PAGE_BYTES] = owner.packed()
    return Journal(memory, owner, path, fd)


def host_mark(name: str) -> bytes:
    """This machine, in the journal file of that name."""
    try:
        machine = Path("/etc/machine-id").read_bytes().strip()
    except OSError:
        machine = b""
    return mark(name, machine)


def boot_mark(name: str) -> bytes:
    """This machine's run since it was started, in the journal file of that name.

    Raises:
        OSError: the kernel does not tell.
    """
    return mark(name, Path("/proc/sys/kernel/random/boot_id").read_bytes().strip())


def _whole_pages(length: int) -> int:
    return length + -length % PAGE_BYTES
