"""Signals that end a mount wait while there is a mount that nobody serves yet."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold back what would end this process; only in the main thread.

    An exception at the wrong instruction would leave a mount that nobody takes away, and whoever looks at it, this
    process too, would wait for ever.

    Raises:
        KeyboardInterrupt: At the end, if a signal came meanwhile.
    """
    came: list[int] = []
    heeded = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    former = {number: signal.signal(number, lambda number, _frame: came.append(number)) for number in heeded}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt
