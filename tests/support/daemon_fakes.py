"""Stand-ins for a mount and a phone session, so that the daemon's threads can be tested without either."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from phone_link.errors import LinkClosed
from phonevault.daemon.volume import LockReport


class FakeKeys:
    """Opened keys that remember being wiped."""

    def __init__(self) -> None:
        self.wiped = False

    def wipe(self) -> None:
        self.wiped = True


class FakeVolume:
    """A mount that writes down what is done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.verified = True
        self.unlock_error: Exception | None = None
        self.unmount_errors: list[Exception] = []
        self.changed = threading.Condition()

    def _note(self, what: str) -> None:
        with self.changed:
            self.done.append(what)
            self.changed.notify_all()

    def wait_for(self, what: str, timeout_s: float = 10) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: what in self.done, timeout_s), self.done

    def freeze(self) -> None:
        self._note("freeze")

    def thaw(self) -> None:
        self._note("thaw")

    def lock(self) -> LockReport:
        self._note("lock")
        return LockReport(self.verified, 0.0, ())

    def unlock(self, opened: Any) -> None:
        assert not opened.wiped
        if self.unlock_error is not None:
            raise self.unlock_error
        self._note("unlock")

    def unmount(self, *, lazy: bool = False) -> None:
        if self.unmount_errors:
            raise self.unmount_errors.pop(0)
        self._note("unmount lazily" if lazy else "unmount")


class FakeSession:
    """A phone session that answers until it is told not to."""

    def __init__(self) -> None:
        self.pings = 0
        self.closed = False
        self.lock_handler: Callable[[], None] = lambda: None
        self._says: queue.SimpleQueue[str] = queue.SimpleQueue()

    def ping(self, timeout_s: float) -> None:
        if self.closed:
            raise LinkClosed("gone")
        self.pings += 1

    def wait(self, timeout_s: float) -> None:
        if self.closed:
            raise LinkClosed("gone")
        try:
            said = self._says.get(timeout=timeout_s)
        except queue.Empty:
            return
        if said == "lock":
            self.lock_handler()
        else:
            self.closed = True
            raise LinkClosed("gone")

    def on_lock(self, handler: Callable[[], None]) -> None:
        self.lock_handler = handler

    def close(self) -> None:
        self.closed = True

    def say_lock(self) -> None:
        self._says.put("lock")

    def vanish(self) -> None:
        self._says.put("vanish")


def eventually(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    """Waits until something is true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
