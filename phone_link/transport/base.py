"""The one narrow interface of all transports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from phone_link.stream import Stream as Stream

READ_SIZE = 65536
WRITE_TIMEOUT_S = 10.0
"""A peer that takes no bytes for so long is gone."""


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
