"""What a virtual controller knows about each of its links, beyond Bumble's own bookkeeping."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bumble import hci

if TYPE_CHECKING:
    from phone_link.virtual.controller import RadioController


@dataclass(eq=False)
class LinkState:
    """One end of a BR/EDR link.

    Attributes:
        peer: The controller at the other end, which may be gone by now.
        supervision_timeout_s: What the host asked for, None for the air's default.
        supervision: Runs while the peer is not heard.
        silent_since: Loop time at which the peer was no longer heard, None while it is.
        held: What is to be sent once the peer is heard again. Bounded by HCI flow control: a packet
            that waits here is not reported as completed.
        link_key: The key in use, after authentication or pairing.
        verifying: The random number of our own LMP_AU_RAND while its answer is awaited.
        authenticating: Our host asked for authentication and has not had its answer.
        challenge: The random number of the peer's LMP_AU_RAND while our host looks up the key.
        encrypted: Encryption was switched on. (The air carries plain text in any case.)
        sniff_slots: Interval of sniff mode in slots of 0.625 ms, 0 in active mode.
        sniffing: What is to be sent at the next anchor of sniff mode.
        anchor: Runs until then.
    """

    peer: RadioController
    supervision_timeout_s: float | None = None
    supervision: asyncio.TimerHandle | None = None
    silent_since: float | None = None
    held: deque[Callable[[], None]] = field(default_factory=deque)
    link_key: bytes | None = None
    verifying: bytes | None = None
    authenticating: bool = False
    challenge: bytes | None = None
    encrypted: bool = False
    sniff_slots: int = 0
    sniffing: deque[Callable[[], None]] = field(default_factory=deque)
    anchor: asyncio.TimerHandle | None = None

    def theirs(self, own_address: hci.Address) -> LinkState | None:
        """The other end of this link, if the peer is in range and has not lost it."""
        other = self.peer.links.get(own_address)
        if other is None or other.peer.links.get(self.peer.public_address) is not self:
            return None
        return other if self.peer.air.hear_each_other(self.peer, other.peer) else None

    def supervise(self, timeout_s: float, lose: Callable[[], None]) -> None:
        """The peer is not heard: call `lose` when that has lasted for the timeout."""
        loop = asyncio.get_running_loop()
        if self.silent_since is None:
            self.silent_since = loop.time()
        if self.supervision is not None:
            self.supervision.cancel()
        self.supervision = loop.call_at(self.silent_since + timeout_s, lose)

    def stop_supervision(self) -> None:
        """The peer was heard, or the link is over."""
        self.silent_since = None
        if self.supervision is not None:
            self.supervision.cancel()
            self.supervision = None


@dataclass(eq=False)
class Page:
    """A running HCI_Create_Connection: paging, then waiting for the other host to accept."""

    address: hci.Address
    timer: asyncio.TimerHandle
    allow_role_switch: bool
    answered: bool = False
