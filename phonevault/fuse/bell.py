"""Waking a thread now, or a little later without anybody's help: timerfd_create(2), for which Python 3.11 has no function."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
from struct import Struct

_libc = ctypes.CDLL(None, use_errno=True)
_ITIMERSPEC = Struct("@llll")
"""Interval, then time until it expires: seconds and nanoseconds each, in the C library's older form where a long has 32 bits."""
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
            raise _last_error()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def ring(self, after_s: float = 0) -> None:
        """Wake who sleeps, after so many seconds. The last ring counts: it takes back one that is still to come.

        Raises:
            OSError: the kernel refused.
        """
        nanoseconds = max(1, int(after_s * _BILLION))
        if _libc.timerfd_settime(self._fd, 0, _ITIMERSPEC.pack(0, 0, *divmod(nanoseconds, _BILLION)), None):
            raise _last_error()  # never seen: a ring that is lost would be a thread that sleeps for ever

    def sleep(self, timeout_s: float | None) -> None:
        """Until it is rung, or so many seconds (in steps of a millisecond) have passed."""
        if self._poll.poll(None if timeout_s is None else timeout_s * 1000):
            with contextlib.suppress(BlockingIOError):  # somebody has just wound it up anew
                os.read(self._fd, 8)


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
