"""What happens to a request that arrives: it is served, waits, or is refused. No I/O.

Modes: OPEN (served), FROZEN (requests wait unanswered), DRAINING (a lock is under way: only what brings dirty data home is
served), LOCKED (everything that needs keys is refused). Besides, somebody may want the tree for himself.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from enum import Enum

from phonevault.fuse import abi
from phonevault.fuse.device import message_of
from phonevault.fuse.request import Operations, Request


class Mode(Enum):
    """What happens to requests in general."""

    OPEN = 0
    FROZEN = 1
    DRAINING = 2
    LOCKED = 3


class Hold(Enum):
    """Whether somebody wants the tree for himself; COMING: as soon as what is under way is done."""

    NONE = 0
    COMING = 1
    STILL = 2


class Verdict(Enum):
    """On one request."""

    SERVE = 0
    WAITS = 1
    REFUSE = 2


class Gate:
    """The gate of one session, asked by any number of threads.

    Args:
        operations: tells which requests need no keys, and which bring dirty data home.

    Attributes:
        is_open: everything is served. Asked at every request, so it is one attribute.
        is_locked: everything that needs keys is refused.
    """

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._lock = threading.Lock()
        self._mode = Mode.OPEN
        self._hold = Hold.NONE
        self._waiting: list[bytearray] = []
        self.is_open = True
        self.is_locked = False

    @property
    def mode(self) -> Mode:
        """What happens to requests in general."""
        return self._mode

    def change(self, mode: Mode, only_from: Mode | None = None) -> None:
        """From now on; what waits stays until it is taken up (:meth:`waiting`).

        Args:
            mode: the new one.
            only_from: nothing is changed in another mode than this.
        """
        with self._lock:
            if only_from is None or self._mode is only_from:
                self._mode = mode
                self._changed()

    def hold(self, hold: Hold) -> None:
        """Keep the tree for somebody, or give it back."""
        with self._lock:
            self._hold = hold
            self._changed()

    def _changed(self) -> None:
        # In this order: what an opened gate lets through is no longer refused its answer.
        self.is_locked = self._mode is Mode.LOCKED
        self.is_open = self._mode is Mode.OPEN and self._hold is Hold.NONE

    def judge(self, request: Request) -> Verdict:
        """What to do with a request. One that waits is kept here, until it is taken up or withdrawn."""
        operations, opcode = self._operations, request.opcode
        free = opcode in operations.needs_no_keys or operations.keyless(request)
        drains = opcode in operations.drains
        with self._lock:
            mode = self._mode
            if self._waits_for_holder(drains):
                self._waiting.append(message_of(request))
                return Verdict.WAITS
            if free or mode is Mode.OPEN or (drains and mode is Mode.DRAINING):
                return Verdict.SERVE
            if mode is Mode.LOCKED:
                return Verdict.REFUSE
            self._waiting.append(message_of(request))
            return Verdict.WAITS

    def _waits_for_holder(self, drains: bool) -> bool:
        """In a locked mount nothing is done with the tree, so nothing waits for who has it."""
        if self._hold is Hold.NONE or self._mode is Mode.LOCKED:
            return False
        return not (drains and self._hold is Hold.COMING)

    def waiting(self) -> Iterator[bytearray]:
        """Messages of all requests that have waited so far, to be judged again. They are overwritten in the end: a WRITE's is plaintext."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        try:
            yield from waiting
        finally:
            for message in waiting:
                _wipe(message)

    def withdraw(self, unique: int) -> bool:
        """Forget a request that waits; False if none of that number does."""
        with self._lock:
            for index, message in enumerate(self._waiting):
                if abi.IN_HEADER.unpack_from(message)[2] == unique:
                    _wipe(self._waiting.pop(index))
                    return True
        return False


def _wipe(message: bytearray) -> None:
    message[:] = bytes(len(message))
