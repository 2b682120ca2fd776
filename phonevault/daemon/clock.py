"""Time that counts suspend, and noticing that there was one."""

from __future__ import annotations

import time
from collections.abc import Callable

SUSPEND_JUMP_S = 0.5
"""CLOCK_BOOTTIME runs on through a suspend, CLOCK_MONOTONIC stands still: so much difference is a suspend."""


def boottime_s() -> float:
    """Seconds of CLOCK_BOOTTIME (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SuspendWatch:
    """Tells whether the computer slept since it was last asked."""

    def __init__(
        self,
        boottime: Callable[[], float] = boottime_s,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._boottime = boottime
        self._monotonic = monotonic
        self._slept_s = self._total_s()

    def slept(self) -> bool:
        """Return True once after each suspend."""
        total_s = self._total_s()
        jumped = total_s - self._slept_s > SUSPEND_JUMP_S
        self._slept_s = total_s
        return jumped

    def _total_s(self) -> float:
        return self._boottime() - self._monotonic()
