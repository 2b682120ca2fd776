"""What listeners share whose connections come in a thread of their own and wait to be accepted."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

from phone_link.errors import LinkClosed, LinkTimeout
from phone_link.transport.base import Stream

S = TypeVar("S", bound=Stream)

MAX_WAITING = 8
"""Connections nobody has accepted yet; more are sent away."""


class QueuedListener(Generic[S]):
    """The accepting half of a `phone_link.transport.base.Listener`. Who adds to `_waiting` holds `_changed`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[S] = deque()
        self._closed: str | None = None

    def accept(self, timeout_s: float | None) -> S:
        """See `Listener.accept`."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed is not None, timeout_s)
            if self._closed is not None:
                raise LinkClosed(self._closed)
            if not self._waiting:
                raise LinkTimeout("nobody connected in time")
            return self._waiting.popleft()

    def _welcome(self) -> bool:
        """Whether one more may wait."""
        return self._closed is None and len(self._waiting) < MAX_WAITING

    def _finish(self, reason: str) -> None:
        """Nothing is accepted any more; the first reason counts."""
        with self._changed:
            self._closed = self._closed or reason
            self._changed.notify_all()
