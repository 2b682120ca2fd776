"""One open ciphertext file, changed under the journal: each change is made whole, or not at all."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable

from phonevault.fs.journal import Held, Journal, Slot
from phonevault.fs.recovery import is_of, put_back
from phonevault.fs.syscalls import write_out

log = logging.getLogger(__name__)


class StoredFile:
    """A ciphertext file. Its methods are called by one thread at a time.

    Args:
        fd: open for reading, and for writing if anything is written.
        journal: of the mount.
    """

    def __init__(self, fd: int, journal: Journal) -> None:
        self.fd = fd
        self._journal = journal
        status = os.fstat(fd)
        self._inode = status.st_ino
        self._cipher_size = status.st_size
        self._sync_failed = False

    # -- stable storage -----------------------------------------------------------------------------------

    def sync(self, *, data_only: bool) -> None:
        """Return when the ciphertext is on stable storage.

        Raises:
            OSError: of the backing file. The kernel tells a lost write once for each open file, and all handles share ours:
                so after an EIO this fails until the file was closed by all.
        """
        self._tell_always(os.fdatasync if data_only else os.fsync, self.fd)

    def write_out(self, length: int) -> None:
        """Return when the first bytes were given to the disk: whatever a journalling file system commits after that finds them there.

        Raises:
            OSError: as :meth:`sync`.
        """
        self._tell_always(write_out, self.fd, length)

    def _tell_always(self, call: Callable[..., None], *arguments: int) -> None:
        if self._sync_failed:
            raise OSError(errno.EIO, "data was lost before")
        try:
            call(*arguments)
        except OSError as error:
            self._sync_failed = error.errno == errno.EIO
            raise

    # -- changes ------------------------------------------------------------------------------------------

    def replace(
        self, file_id: bytes, sealed: memoryview, where: int, end: int | None = None, *, in_one_piece: bool
    ) -> None:
        """Write ciphertext, then cut the file at ``end``: both, or neither.

        Args:
            file_id: in the file's header, or in ``sealed`` if the file is empty.
            sealed: ciphertext, at least one byte.
            where: offset in the ciphertext file.
            end: new length of the ciphertext file; None if what is written may at most extend it.
            in_one_piece: a part of it would be damage, so the journal must know. A page of the kernel is always written whole.

        Raises:
            OSError: of the backing file; what was there before is there again.
        """
        if self._journal.held:
            self.settle()
        slot = self._journal.take()
        try:
            self._replace(slot, file_id, sealed, where, end, in_one_piece=in_one_piece)
        finally:
            self._journal.give_back(slot)

    def _replace(
        self,
        slot: Slot,
        file_id: bytes,
        sealed: memoryview,
        where: int,
        end: int | None,
        *,
        in_one_piece: bool,
    ) -> None:
        size, length = self._cipher_size, len(sealed)
        old = slot.old[: max(0, min(length, size - where))]
        if old:
            old = old[: os.preadv(self.fd, [old], where)]
        if in_one_piece:
            slot.begin(self._inode, where, size, len(old), file_id, sealed)
        done = 0
        try:
            done = os.pwrite(self.fd, sealed, where)
            while done < length:
                done += os.pwrite(self.fd, sealed[done:], where + done)
            if end is not None:
                os.ftruncate(self.fd, end)
        except OSError:
            slot.begin(self._inode, where, size, len(old), file_id, sealed)
            self._take_back(Held(slot, old[:done], where, size, file_id))
            raise
        slot.end()
        self._cipher_size = max(size, where + done) if end is None else end

    def _take_back(self, change: Held) -> None:
        """A change failed. If the backing store does not even take the old bytes back, the journal keeps them."""
        change.slot.go_back()
        try:
            put_back(self.fd, change.old, change.offset, change.size)
        except OSError as error:
            log.error("inode %d: a failed change cannot be undone yet: %s", self._inode, error.strerror)
            self._journal.hold(self._inode, change)
        else:
            change.slot.end()

    def settle(self) -> None:
        """Undo what could not be undone before.

        Raises:
            OSError: it still cannot.
        """
        held = self._journal.held.get(self._inode)
        if held is None:
            return
        if is_of(self.fd, held.file_id):
            put_back(self.fd, held.old, held.offset, held.size)
            self._cipher_size = held.size
        self._journal.let_go(self._inode)
