"""Waking a thread now, or a little later without anybody's help: timerfd_create(2), for which Python 3.11 has no function."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
from struct import Struct

_libc = ctypes.CDLL(None, use_errno=True)
_ITIMERSPEC = Struct("@qlql")
"""Interval, then time until it expires: seconds and nanoseconds each (time_t is 64 bits long wherever a long is)."""
_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK, _TFD_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
_BILLION = 1_000_000_000


class Bell:
    """One thread sleeps, others ring. A ring that comes before the sleep is not lost.

    Raises:
        OSError: EMFILE, no descriptor is left.
    """

    __slots__ = ("_fd", "_poll")

    def __init__(self) -> None:
        self._fd = _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def ring(self, after_s: float = 0) -> None:
        """Wake who sleeps, after so many seconds. The last ring counts: it takes back one that is still to come."""
        nanoseconds = max(1, int(after_s * _BILLION))
        _libc.timerfd_settime(self._fd, 0, _ITIMERSPEC.pack(0, 0, *divmod(nanoseconds, _BILLION)), None)

    def sleep(self, timeout_s: float | None) -> None:
        """Until it is rung, or so many seconds (in steps of a millisecond) have passed."""
        if self._poll.poll(None if timeout_s is None else timeout_s * 1000):
            with contextlib.suppress(BlockingIOError):  # somebody has just wound it up anew
                os.read(self._fd, 8)
