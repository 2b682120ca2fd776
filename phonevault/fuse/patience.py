"""How long to ask for the next request before sleeping. No I/O."""

from __future__ import annotations

SPIN_NS = 50_000
"""A program that works through many files is back with its next request sooner than that; to be woken costs as much."""
_MOST = 8


class Patience:
    """Grows with requests that came soon, and shrinks to nothing with those that did not.

    Args:
        processors: that the process may run on. With a single one, whoever asks keeps from working who is waited for.

    Attributes:
        ns: how long to ask, in nanoseconds.
    """

    __slots__ = ("_processors", "_score", "ns")

    def __init__(self, processors: int) -> None:
        self._processors = processors
        self._score = _MOST
        self._set()

    def paid(self) -> None:
        """A request came while we asked."""
        self._score = _MOST

    def slept(self, waited_ns: int) -> None:
        """It did not, so we slept.

        Args:
            waited_ns: from when we began to ask until we were woken. Waking takes its time, too: up to twice what we would have asked for
                is soon.
        """
        soon = waited_ns < 2 * SPIN_NS
        self._score = min(self._score + 1, _MOST) if soon else max(self._score - 1, 0)
        self._set()

    def _set(self) -> None:
        self.ns = SPIN_NS if self._score and self._processors > 1 else 0
