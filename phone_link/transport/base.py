"""The one narrow interface of all transports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from phone_link.stream import Stream as Stream

READ_SIZE = 65536
WRITE_TIMEOUT_S = 10.0
"""A peer that takes no bytes for so long is gone."""


CompareDigits = Callable[[str, str], bool]
"""Asks the user whether the other device (its name comes second, unchecked) shows the same six digits of
Bluetooth's own pairing; called in a thread of its own."""


class Listener(Protocol):
    """Waits for computers."""

    def accept(self, timeout_s: float | None) -> Stream:
        """Return the next stream; `LinkTimeout` if none came in time, `LinkClosed` after `close`."""

    def close(self) -> None:
        """Stop listening; idempotent. A blocked accept ends with `LinkClosed`."""


@runtime_checkable
class Findable(Protocol):
    """A listener that computers find only when the phone's user wants it."""

    def let_pair(self, seconds: int) -> None:
        """Let computers find this phone and pair with it for so long; raises `LinkError`."""


@dataclass(frozen=True)
class TransportOptions:
    """What a transport may need beyond its spec.

    Attributes:
        state_dir: where it keeps its own state (Bluetooth link keys); None keeps none.
        pairing: Bluetooth-level pairing is allowed on this connection or listener.
        compare: asks for the comparison of Bluetooth's own six digits (`bluetooth:` only); None refuses it.
    """

    state_dir: Path | None = None
    pairing: bool = False
    compare: CompareDigits | None = None
