"""Two connected streams in this process, and a thread that must end well."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from phone_link.transport.descriptor import DescriptorStream
from phone_link.transport.sockets import socket_stream


@contextlib.contextmanager
def stream_pair() -> Iterator[tuple[DescriptorStream, DescriptorStream]]:
    """Two ends of a socket pair, closed at the end."""
    left, right = (socket_stream(sock) for sock in socket.socketpair())
    try:
        yield left, right
    finally:
        left.close()
        right.close()


class Worker:
    """Runs a function in a thread; `join` hands over its result or raises its exception."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._result: object = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001 - handed over by join
            self._error = error

    def join(self, timeout_s: float = 10.0) -> object:
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), "the thread did not end"
        if self._error is not None:
            raise self._error
        return self._result
