"""A stream over any pollable file descriptor: sockets, ptys, serial lines."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable

from phone_link.errors import LinkClosed, LinkTimeout
from phone_link.transport.base import READ_SIZE, WRITE_TIMEOUT_S

_GONE = "the other side closed the link"


class Waker:
    """Wakes threads that wait in poll(2): once set, it stays readable."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._set = False

    @property
    def is_set(self) -> bool:
        """True after `set`."""
        return self._set

    def set(self) -> None:
        """Wake every waiter, now and later."""
        self._set = True
        os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        """Give the descriptor back; nobody may wait any more."""
        os.close(self.fd)

    def wait(self, fd: int, events: int, timeout_s: float | None) -> bool:
        """Wait until `fd` is ready; False at the timeout.

        Raises:
            LinkClosed: `set` was called.
        """
        if self._set:
            raise LinkClosed("the link is closed")
        poll = select.poll()
        poll.register(fd, events)
        poll.register(self.fd, select.POLLIN)
        ready = poll.poll(None if timeout_s is None else max(0.0, timeout_s) * 1000)
        if self._set:
            raise LinkClosed("the link is closed")
        return bool(ready)


class DescriptorStream:
    """A `Stream` over a non-blocking file descriptor that this object owns.

    Args:
        fd: becomes non-blocking.
        release: closes the descriptor; called once, after the last read and write ended.
        shutdown: called at the start of `close` (sockets tell the peer at once).
        why: says what an error of the descriptor means.
    """

    def __init__(
        self,
        fd: int,
        *,
        release: Callable[[], None] | None = None,
        shutdown: Callable[[], None] | None = None,
        why: Callable[[OSError], str] = lambda error: f"{_GONE} ({error.strerror})",
    ) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._release = release or (lambda: os.close(fd))
        self._shutdown = shutdown
        self._why = why
        self._waker = Waker()
        self._read_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._close_lock = threading.Lock()
        self._closed = False
        self._peer_gone = False

    def fileno(self) -> int:
        """Return the descriptor, for poll(2) only."""
        return self._fd

    def read(self, timeout_s: float | None) -> bytes:
        """See `Stream.read`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._read_lock:
            while True:
                self._require_open()
                remaining = None if deadline is None else deadline - time.monotonic()
                if not self._waker.wait(self._fd, select.POLLIN, remaining):
                    raise LinkTimeout("nothing received in time")
                data = self._receive()
                if data is not None:
                    return data

    def _receive(self) -> bytes | None:
        """Return bytes, None if there are none after all."""
        try:
            data = os.read(self._fd, READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            # The first error is final: Bluetooth sockets report a drop once and never again as end of file.
            self._peer_gone = True
            raise LinkClosed(self._why(error)) from None
        if not data:
            self._peer_gone = True
            raise LinkClosed(_GONE)
        return data

    def write(self, data: bytes) -> None:
        """See `Stream.write`."""
        view = memoryview(data)
        with self._write_lock:
            while view:
                self._require_open()
                try:
                    view = view[os.write(self._fd, view) :]
                except InterruptedError:
                    continue
                except BlockingIOError:
                    if not self._waker.wait(self._fd, select.POLLOUT, WRITE_TIMEOUT_S):
                        self._peer_gone = True
                        raise LinkClosed("the other side takes no more data") from None
                except OSError as error:
                    self._peer_gone = True
                    raise LinkClosed(self._why(error)) from None

    def _require_open(self) -> None:
        if self._peer_gone:
            raise LinkClosed(_GONE)
        if self._closed:
            raise LinkClosed("the link is closed")

    def close(self) -> None:
        """See `Stream.close`."""
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
        if self._shutdown is not None:
            with contextlib.suppress(OSError):
                self._shutdown()
        self._waker.set()
        # Not before the last user is out: a closed descriptor's number may be given to another file at once.
        with self._read_lock, self._write_lock:
            self._release()
            self._waker.close()
