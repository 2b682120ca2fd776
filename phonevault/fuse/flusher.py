"""Requests that can be answered only when the kernel's dirty pages of their file are home.

Telling the kernel to drop a file's pages makes it write the dirty ones back, and the call returns when those WRITE requests
are answered. So a thread of its own waits for it: the workers are free to serve them.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from phonevault.fuse.device import message_of, parse
from phonevault.fuse.request import Request


class Flusher:
    """The thread, started with its first request.

    Args:
        flush: brings a node's dirty pages home, and tells whether it did; must not raise.
        serve: answers a request, or parks it; the request has no scratch memory.
    """

    def __init__(self, flush: Callable[[int], bool], serve: Callable[[Request], None]) -> None:
        self._flush = flush
        self._serve = serve
        self._waiting: queue.SimpleQueue[bytearray | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._pending = 0
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether a request is here that is not answered yet."""
        return self._pending > 0

    def take(self, request: Request) -> None:
        """Answer a request later; the caller may reuse the object."""
        with self._lock:
            self._pending += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="fuse-flush", daemon=True)
                self._thread.start()
        self._waiting.put(message_of(request))

    def stop(self) -> None:
        """End the thread, once what waits is done."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(5)

    def _run(self) -> None:
        request = Request(0)
        while (message := self._waiting.get()) is not None:
            parse(memoryview(message), len(message), request)
            try:
                request.flushed = self._flush(request.nodeid)
                self._serve(request)
            finally:
                with self._lock:
                    self._pending -= 1
