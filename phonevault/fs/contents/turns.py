"""Whose turn it is on a file that other hosts change too (``--shared``).

A request takes a flock on the ciphertext file for as long as it lasts, so that a block is never merged or read while another host writes
it, and looks at length and header anew. Locks also make network file systems look at the server instead of their caches.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class HostTurns:
    """A context manager: one request at a time, in this process and among hosts.

    Whoever waits for another host holds nothing that a lock of the mount needs (``guard`` is taken last).

    Args:
        fd: the ciphertext file.
        guard: this process's lock on the file's state.
        look: called at the beginning of each turn.
    """

    def __init__(self, fd: int, guard: threading.Lock, look: Callable[[], None]) -> None:
        self._fd = fd
        self._guard = guard
        self._look = look
        self._turn = threading.Lock()
        self._unlocked = False

    def __enter__(self) -> None:
        self._turn.acquire()
        try:
            self._lock_and_guard()
            try:
                self._look()
            except OSError:
                self._guard.release()
                raise
        except OSError:
            self._give_back()
            raise

    def _lock_and_guard(self) -> None:
        """The file may be opened anew for writing, in the place of the descriptor, while its lock is waited for: the lock goes with it."""
        while True:
            writable = self._lock()
            self._guard.acquire()
            if writable == self._writable():
                return
            self._guard.release()

    def __exit__(self, *_: object) -> None:
        self._guard.release()
        self._give_back()

    def _writable(self) -> bool:
        return fcntl.fcntl(self._fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY

    def _lock(self) -> bool:
        """Lock the file; whether the descriptor was for writing."""
        writable = self._writable()
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX if writable else fcntl.LOCK_SH)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            if not self._unlocked:
                log.warning(
                    "the backing store has no locks (%s): hosts may disturb each other", error.strerror
                )
            self._unlocked = True
        return writable

    def _give_back(self) -> None:
        try:
            if not self._unlocked:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        finally:
            self._turn.release()
