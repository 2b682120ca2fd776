"""A process that is killed, or refused, at a chosen point of its changes to files: fault injection for tests.

Points are where the kernel can stop: in a write at every border of a page of the file, and behind it; before and behind every
change of a length.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Callable, Iterator

PAGE = 4096


class FaultInjector:
    """Replaces the changing calls of ``os`` by ones that count points, and strike at one of them.

    Args:
        strike_at: number of the point.
        strike: what happens there; it does not return, or raises.
        lasting: it happens at every later point too.
    """

    def __init__(self, strike_at: int, strike: Callable[[], None], *, lasting: bool = False) -> None:
        self.points = 0
        self._strike_at, self._strike, self._lasting = strike_at, strike, lasting
        self._pwrite, self._ftruncate = os.pwrite, os.ftruncate

    def _struck(self) -> bool:
        point, self.points = self.points, self.points + 1
        return point == self._strike_at or (self._lasting and point > self._strike_at)

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        """As the kernel's: whole pages, and a short count if the strike comes behind the first of them."""
        done = 0
        while done < len(data):
            if self._struck():
                if done and self._strike is not kill_self:
                    self.points -= 1
                    return done
                self._strike()
            step = min(len(data) - done, PAGE - (offset + done) % PAGE)
            done += self._pwrite(fd, data[done : done + step], offset + done)
        if self._strike is kill_self and self._struck():
            self._strike()
        return done

    def ftruncate(self, fd: int, length: int) -> None:
        if self._struck():
            self._strike()
        self._ftruncate(fd, length)
        if self._strike is kill_self and self._struck():
            self._strike()

    @contextlib.contextmanager
    def installed(self) -> Iterator[FaultInjector]:
        os.pwrite, os.ftruncate = self.pwrite, self.ftruncate  # type: ignore[assignment]
        try:
            yield self
        finally:
            os.pwrite, os.ftruncate = self._pwrite, self._ftruncate


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    raise OSError(errno.ENOSPC, "no space, says the fault injector")


def killed_at(point: int, act: Callable[[], object]) -> bool:
    """Run ``act`` in a child that is killed at that point; False if it had fewer points and ended by itself."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with FaultInjector(point, kill_self).installed():
                act()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False
