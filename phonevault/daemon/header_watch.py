"""Looks whether the phone of a mount still has a slot in the vault's header; if not, the folder is locked.

So whoever has a lost phone does not keep a folder open with it, also one that another user or computer mounted: there the change of the
header arrives with the ciphertext. A thread of its own: a store that hangs must not keep heartbeats from being counted.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Protocol

from keyslots import store
from keyslots.errors import KeyslotsError
from keyslots.header import Header
from keyslots.place import Place
from phonevault.daemon import state
from phonevault.daemon.log import log

LOOK_S = 1.0


class Sink(Protocol):
    """What is used of the supervisor."""

    @property
    def status(self) -> state.Status:
        """Where the machine stands."""

    def post(self, event: state.Event) -> None:
        """Report an event."""


class HeaderWatch:
    """The thread that looks.

    Args:
        where: Says where the header is; it may be moved while it is mounted.
        has_slot: Whether a header has a slot for the mount's phone, or its phones.
        sink: The supervisor.
    """

    def __init__(self, where: Callable[[], Place], has_slot: Callable[[Header], bool], sink: Sink) -> None:
        self._where = where
        self._fits = has_slot
        self._sink = sink
        self._seen: tuple[int, ...] = ()
        self._has_slot = True
        self._end = threading.Event()

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name="header", daemon=True).start()

    def stop(self) -> None:
        """End soon."""
        self._end.set()

    def _run(self) -> None:
        while not self._end.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        """Ask for a lock if the phone holds the folder open, or could, and its slot is gone."""
        status = self._sink.status
        is_held = status.bound and status.state is not state.State.LOCKED
        if is_held and not self._phone_has_slot():
            log("the phone has no slot in the vault's header any more")
            self._sink.post(state.LockAsked(state.Cause.NO_SLOT))

    def _phone_has_slot(self) -> bool:
        """Whether it has one in the header on disk. One that cannot be read says nothing."""
        with contextlib.suppress(OSError, KeyslotsError):
            place = self._where()
            found = os.stat(place.directory / place.main, follow_symlinks=False)
            now = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if now != self._seen:
                self._has_slot = self._fits(store.load(place).header)
                self._seen = now
        return self._has_slot
