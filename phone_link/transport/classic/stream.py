"""The blocking stream on top of an RFCOMM data channel."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from phone_link.errors import LinkClosed, LinkError
from phone_link.transport.base import WRITE_TIMEOUT_S
from phone_link.transport.classic.acl import AclLink
from phone_link.transport.classic.rfcomm import DataChannel

FLUSH_S = 0.3
FAREWELL_S = 0.15
CLOSED = "the link is closed"


class RfcommStream:
    """See `phone_link.transport.base.Stream`; owns the channel, its link and the adapter.

    Args:
        channel: An open data channel.
        link: What carries it.
        on_close: Told, once, whether the peer ever sent anything.
    """

    def __init__(self, channel: DataChannel, link: AclLink, on_close: Callable[[bool], None]) -> None:
        self._channel = channel
        self._link = link
        self._adapter = link.adapter
        self._on_close = on_close
        self._closing = False

    def read(self, timeout_s: float | None) -> bytes:
        """See `Stream.read`. What came before the peer closed is delivered first."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        channel = self._channel
        with self._adapter.changed:
            self._wait(lambda: bool(channel.received), deadline, "nothing received in time")
            if self._closing or not channel.received:
                raise LinkClosed(channel.closed or CLOSED)
            data = b"".join(channel.received)
            channel.received.clear()
            channel.grant_credits()
            return data

    def write(self, data: bytes) -> None:
        """See `Stream.write`. Waits for the peer's credits and for the controller's buffers."""
        size = self._channel.frame_bytes
        for offset in range(0, len(data), size):
            with self._adapter.changed:
                self._wait_for_room()
                self._channel.send_data(bytes(data[offset : offset + size]))

    def _wait_for_room(self) -> None:
        channel, deadline = self._channel, time.monotonic() + WRITE_TIMEOUT_S
        try:
            self._wait(lambda: channel.credits > 0 and self._link.drained, deadline, "")
        except LinkError:
            raise LinkClosed(channel.closed or "the phone takes no more data") from None
        if self._closing or channel.closed is not None:
            raise LinkClosed(channel.closed or CLOSED)

    def _wait(self, condition: Callable[[], bool], deadline: float | None, late: str) -> None:
        """Until the condition holds or the stream is over; `LinkTimeout` otherwise."""
        self._adapter.wait(
            lambda: condition() or self._closing or self._channel.closed is not None, deadline, late
        )

    def close(self) -> None:
        """See `Stream.close`. Says goodbye to a peer that listens, waits at most 0.6 s for that."""
        if not self._adapter.changed.acquire(timeout=FLUSH_S):
            self._adapter.close()
            return
        try:
            if self._closing:
                return
            self._closing = True
            self._adapter.changed.notify_all()
        finally:
            self._adapter.changed.release()
        self._say_goodbye()
        self._adapter.close()
        self._on_close(self._channel.ever_received)

    def _say_goodbye(self) -> None:
        with contextlib.suppress(LinkError), self._adapter.changed:
            deadline = time.monotonic() + FLUSH_S
            self._channel.disconnect()
            self._link.wait(lambda: self._channel.disconnected, deadline, "")
        self._link.disconnect(time.monotonic() + FAREWELL_S)
