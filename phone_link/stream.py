"""The byte stream all rooms of the link know: transports make it, the AT layer reads and writes it."""

from __future__ import annotations

from typing import Protocol


class Stream(Protocol):
    """A blocking byte stream; one thread reads and one writes at a time, any thread may close."""

    def read(self, timeout_s: float | None) -> bytes:
        """Return at least one byte.

        Args:
            timeout_s: seconds to wait; None waits for ever, 0 takes only what is there.

        Raises:
            LinkTimeout: nothing came in time; the stream is still usable.
            LinkClosed: the peer is gone, or `close` was called. Final.
        """

    def write(self, data: bytes) -> None:
        """Send all of the data; `LinkClosed` if the peer is gone or takes no more bytes."""

    def close(self) -> None:
        """Close; idempotent. A blocked read or write ends with `LinkClosed`."""
