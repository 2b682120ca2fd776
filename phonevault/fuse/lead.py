"""Which worker takes requests from the kernel: one at a time, until it is held up.

Two threads that serve short requests spend their time in taking the interpreter's lock from each other. So one worker leads: it reads,
serves and reads again, and the others are parked. One of these watches, and takes the lead when a request holds the leader up (a slow
disk, an fsync), as Go's ``sysmon`` retakes a processor from a thread that is stuck in a system call. Nobody watches while nothing happens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from phonevault.fuse.bell import Bell

TICK_S = 0.004
"""How long a request may take before another worker leads; twice that for the first one after a pause."""
_QUIET_TICKS = 6
"""After so many without a request nobody watches."""


class Member:
    """A worker's part in it.

    Attributes:
        leads: whether it takes requests now.
        busy: whether it is inside a request.
        served: requests that it has taken so far.
    """

    __slots__ = ("_bell", "busy", "errand", "leads", "served")

    def __init__(self) -> None:
        self._bell = Bell()
        self.errand: Callable[[], object] | None = None
        self.leads = False
        self.busy = False
        self.served = 0

    def ring(self, after_s: float = 0) -> None:
        """Wake it, if it is parked; else it does not sleep the next time."""
        self._bell.ring(after_s)

    def sleep(self, timeout_s: float | None) -> None:
        """Until it is rung."""
        self._bell.sleep(timeout_s)


class Pulse(Protocol):
    """Who is told how much there is to do."""

    def tick(self, requests: int) -> None:
        """Some time has passed, mostly :data:`TICK_S`, and so many requests were taken in it."""

    def pause(self) -> None:
        """Nobody watches for now."""


class Lead:
    """The workers of one session.

    Args:
        pulse: told by the worker that watches.

    Attributes:
        asleep: nobody watches; the leader says :meth:`rouse` at its next request.
    """

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._lock = threading.Lock()
        self._parked: list[Member] = []
        self._leader: Member | None = None
        self._ended = False
        self.asleep = False

    def wait(self, member: Member) -> bool:
        """Park until it is this worker's turn to lead.

        Returns:
            False at the end.
        """
        with self._lock:
            self._parked.append(member)
        watched: Member | None = None
        seen, quiet, served = -1, 0, 0
        while True:
            with self._lock:
                if self._ended:
                    return False
                leader, watches = self._leader, self._parked[0] is member
                if leader is None or (watches and leader.busy and leader.served == seen):
                    return self._take(member)
                if watches:
                    quiet = quiet + 1 if leader.served == seen else 0
                    served = leader.served - seen if leader is watched else 0
                    seen, watched = leader.served, leader
                    self.asleep = quiet > _QUIET_TICKS
            if watches:
                self._pulse.tick(served)
            member.sleep(TICK_S if watches and not self.asleep else None)
            errand, member.errand = member.errand, None
            if errand is not None:
                errand()

    def _take(self, member: Member) -> bool:
        self._parked.remove(member)
        if self._leader is not None:
            self._leader.leads = False
        self._leader, member.leads, self.asleep = member, True, False
        if self._parked:
            self._parked[0].ring()
        else:
            self._pulse.pause()
        return True

    def rouse(self) -> None:
        """Something happens: watch again. Not at once: two threads that start together keep the interpreter's lock from each other."""
        with self._lock:
            self.asleep = False
            if self._parked:
                self._parked[0].ring(TICK_S)

    def send(self, member: Member, errand: Callable[[], object]) -> None:
        """Let a parked worker do something; one that is not parked does not hear it before it is."""
        member.errand = errand
        member.ring()

    def end(self) -> None:
        """Nobody leads any more."""
        with self._lock:
            self._ended = True
            for member in self._parked:
                member.ring()
