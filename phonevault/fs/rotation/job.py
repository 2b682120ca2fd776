"""What a run over a tree is to whoever started it: it can be stopped, paused, and told how much of the time it may work."""

from __future__ import annotations

import threading
import time

_SLICE_S = 0.005
_REST_S = 0.2
"""The longest rest after which another duty is noticed."""


class Job:
    """The part of a run that other threads use.

    Args:
        duty: share of the time that is worked, above 0, at most 1.

    Attributes:
        worked_s: time worked, pauses left out.
    """

    def __init__(self, duty: float) -> None:
        self.duty = duty
        self.worked_s = 0.0
        self._stop = threading.Event()
        self._go = threading.Event()
        self._go.set()
        self._slice_began_s = time.monotonic()

    def stop(self) -> None:
        """End the run soon."""
        self._stop.set()
        self._go.set()

    def pause(self) -> None:
        """Rest until :meth:`resume`."""
        self._go.clear()

    def resume(self) -> None:
        """Go on."""
        self._go.set()

    @property
    def paused(self) -> bool:
        """Whether it rests."""
        return not self._go.is_set()

    @property
    def stopped(self) -> bool:
        """Whether it is to end."""
        return self._stop.is_set()

    def _begin_slice(self) -> None:
        self._slice_began_s = time.monotonic()

    def _end_slice(self) -> float:
        """Count what was worked since the slice began; seconds."""
        worked_s = time.monotonic() - self._slice_began_s
        self.worked_s += worked_s
        return worked_s

    @property
    def _slice_is_over(self) -> bool:
        return time.monotonic() - self._slice_began_s >= _SLICE_S

    def _breathe(self) -> bool:
        """Rest as the duty and a pause ask for; False when stopped. Nothing may be held meanwhile."""
        worked_s = self._end_slice()
        began_s = time.monotonic()
        while (left_s := worked_s / self.duty - worked_s - (time.monotonic() - began_s)) > 0:
            if self._stop.wait(min(left_s, _REST_S)):
                break
        self._go.wait()
        self._begin_slice()
        return not self._stop.is_set()
