"""pty:PATH: a pseudo-terminal, the stand-in for a serial cable.

The phone makes the pair and a symbolic link PATH to its slave; the computer opens PATH. A terminal knows no
connections: one begins with the first byte from the computer and ends when the last one closes the slave.
"""

from __future__ import annotations

import contextlib
import os
import select
import termios
import threading
import tty

from phone_link.errors import LinkClosed, LinkError, LinkTimeout, PhoneAbsent
from phone_link.transport.descriptor import DescriptorStream, Waker


def connect_pty(rest: str) -> DescriptorStream:
    """Open an existing terminal raw; `PhoneAbsent` if there is none."""
    try:
        fd = os.open(rest, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise PhoneAbsent(f"no phone at pty:{rest} ({error.strerror})") from None
    try:
        tty.setraw(fd)
        termios.tcflush(fd, termios.TCIFLUSH)
    except termios.error:
        os.close(fd)
        raise PhoneAbsent(f"no phone at pty:{rest} (not a terminal)") from None
    return DescriptorStream(fd)


class PtyListener:
    """A `Listener` that serves one computer after the other on one pair."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._master, slave = os.openpty()
        self._slave_name = os.ttyname(slave)
        tty.setraw(slave)
        # An open slave of our own keeps the master from reporting a hang-up before anybody came.
        self._holder: int | None = slave
        self._waker = Waker()
        self._accept_lock = threading.Lock()
        self._close_lock = threading.Lock()
        self._closed = False
        os.set_blocking(self._master, False)
        try:
            os.symlink(self._slave_name, path)
        except OSError as error:
            self._release()
            raise LinkError(f"cannot make pty:{path} ({error.strerror})") from None

    def accept(self, timeout_s: float | None) -> DescriptorStream:
        """See `Listener.accept`: waits for the first byte from a computer."""
        with self._accept_lock:
            if self._closed:
                raise LinkClosed("the listener is closed")
            if self._holder is None:
                self._holder = os.open(self._slave_name, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            if not self._waker.wait(self._master, select.POLLIN, timeout_s):
                raise LinkTimeout("nobody connected in time")
            holder, self._holder = self._holder, None
            os.close(holder)
            return DescriptorStream(os.dup(self._master))

    def close(self) -> None:
        """See `Listener.close`; removes the link."""
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
        self._waker.set()
        with self._accept_lock:
            with contextlib.suppress(OSError):
                if os.readlink(self._path) == self._slave_name:
                    os.unlink(self._path)
            self._release()

    def _release(self) -> None:
        os.close(self._master)
        if self._holder is not None:
            os.close(self._holder)
            self._holder = None
        self._waker.close()


def listen_pty(rest: str) -> PtyListener:
    """Make a pair and the link `rest` to its slave; a dangling link of a dead listener is replaced."""
    if os.path.islink(rest) and os.readlink(rest).startswith("/dev/pts/") and not os.path.exists(rest):
        os.unlink(rest)
    return PtyListener(rest)
