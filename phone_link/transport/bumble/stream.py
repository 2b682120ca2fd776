"""The blocking stream on top of a Bumble data channel that lives in an event loop thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from bumble import core, hci
from bumble.device import Connection

from phone_link.errors import LinkClosed, LinkTimeout
from phone_link.transport.base import WRITE_TIMEOUT_S
from phone_link.transport.bumble.rfcomm import FlowDlc

UNSENT_BYTES = 32 * 1024
"""A writer waits while more than this is on its way to the controller."""
PIECE_BYTES = 8 * 1024
FLUSH_S = 0.3
FAREWELL_S = 0.15
GONE = "the computer is gone"
CLOSED = "the link is closed"
QUIET_ERRORS = (core.BaseBumbleError, hci.HCI_Error, TimeoutError, asyncio.CancelledError, OSError)


class BumbleStream:
    """See `phone_link.transport.base.Stream`.

    Args:
        dlc: An open data channel.
        connection: The ACL connection under it, dropped with the stream.
        loop: The event loop both live in; constructed there.
        on_closed: Called, in any thread, when the stream is over on either side.
    """

    def __init__(
        self,
        dlc: FlowDlc,
        connection: Connection,
        loop: asyncio.AbstractEventLoop,
        on_closed: Callable[[BumbleStream], None],
    ) -> None:
        self.connection = connection
        self._dlc = dlc
        self._loop = loop
        self._on_closed = on_closed
        self._changed = threading.Condition()
        self._received: list[bytes] = []
        self._handed_over = 0
        self._buffered = 0
        self._peer_gone = False
        self._closing = False
        dlc.unread_frames = lambda: len(self._received)
        dlc.on_progress = self._on_progress
        dlc.sink = self._on_data
        dlc.on(dlc.EVENT_CLOSE, self.end)

    # In the event loop's thread

    def _on_data(self, data: bytes) -> None:
        with self._changed:
            self._received.append(data)
            self._changed.notify_all()

    def _on_progress(self, waiting_bytes: int) -> None:
        with self._changed:
            self._buffered = waiting_bytes
            self._changed.notify_all()

    def end(self) -> None:
        """The peer closed the channel, or the link is lost."""
        with self._changed:
            self._peer_gone = True
            self._changed.notify_all()
        self._on_closed(self)

    def _transmit(self, data: bytes) -> None:
        with self._changed:
            self._handed_over -= len(data)
            over = self._peer_gone
        if not over:
            self._dlc.write(data)

    def _replenish(self) -> None:
        if not self._peer_gone:
            self._dlc.process_tx()

    async def farewell(self) -> None:
        """Close the channel, then the connection, each as far as the peer still answers."""
        if not self._peer_gone:
            with contextlib.suppress(*QUIET_ERRORS):
                await asyncio.wait_for(self._dlc.disconnect(), FAREWELL_S)
        if self.connection.handle in self.connection.device.connections:
            with contextlib.suppress(*QUIET_ERRORS):
                await asyncio.wait_for(self.connection.disconnect(), FAREWELL_S)

    # In the threads of the reader, the writer, and whoever closes

    def read(self, timeout_s: float | None) -> bytes:
        """See `Stream.read`. What came before the peer closed is delivered first."""
        with self._changed:
            arrived = self._changed.wait_for(
                lambda: self._received or self._peer_gone or self._closing, timeout_s
            )
            if self._closing or (self._peer_gone and not self._received):
                raise LinkClosed(CLOSED if self._closing else GONE)
            if not arrived:
                raise LinkTimeout("nothing received in time")
            data = b"".join(self._received)
            self._received.clear()
        if self._dlc.rx_credits <= self._dlc.rx_credits_threshold:
            self._call(self._replenish)
        return data

    def write(self, data: bytes) -> None:
        """See `Stream.write`."""
        for offset in range(0, len(data), PIECE_BYTES):
            piece = bytes(data[offset : offset + PIECE_BYTES])
            with self._changed:
                room = self._changed.wait_for(
                    lambda: self._unsent() < UNSENT_BYTES or self._peer_gone or self._closing, WRITE_TIMEOUT_S
                )
                if self._peer_gone or self._closing or not room:
                    raise LinkClosed(CLOSED if self._closing else GONE)
                self._handed_over += len(piece)
            self._call(self._transmit, piece)

    def close(self) -> None:
        """See `Stream.close`. Sends what is on its way, waits at most 0.7 s for that and the goodbye."""
        with self._changed:
            if self._closing:
                return
            self._changed.wait_for(lambda: self._peer_gone or not self._unsent(), FLUSH_S)
            self._closing = True
            self._changed.notify_all()
        run_briefly(self._loop, self.farewell, 2 * FAREWELL_S + 0.1)
        self._on_closed(self)

    def _unsent(self) -> int:
        return self._handed_over + self._buffered

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            raise LinkClosed(CLOSED) from None


def run_briefly(
    loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, None]], timeout_s: float
) -> None:
    """Run a coroutine function in the loop's thread, from another one, and wait for a limited time."""
    done = threading.Event()
    tasks: list[asyncio.Task[None]] = []

    async def run() -> None:
        try:
            await work()
        finally:
            done.set()

    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(lambda: tasks.append(loop.create_task(run())))
    deadline = time.monotonic() + timeout_s
    # In pieces: a loop that is stopped meanwhile never gets to it.
    while loop.is_running() and time.monotonic() < deadline:
        if done.wait(0.05):
            return
