"""The one narrow interface of all transports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

READ_SIZE = 65536
WRITE_TIMEOUT_S = 10.0
"""A peer that takes no bytes for so long is gone."""


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


class Listener(Protocol):
    """Waits for computers."""

    def accept(self, timeout_s: float | None) -> Stream:
        """Return the next stream; `LinkTimeout` if none came in time, `LinkClosed` after `close`."""

    def close(self) -> None:
        """Stop listening; idempotent. A blocked accept ends with `LinkClosed`."""


@dataclass(frozen=True)
class TransportOptions:
    """What a transport may need beyond its spec.

    Attributes:
        state_dir: where it keeps its own state (Bluetooth link keys); None keeps none.
        pairing: Bluetooth-level pairing is allowed on this connection or listener.
    """

    state_dir: Path | None = None
    pairing: bool = False
