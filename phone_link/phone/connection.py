"""One connection of a paired computer, as the security manager remembers it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(eq=False)
class Connection:
    """What the manager remembers of one channel to a paired computer: PKCS#11's "application".

    Attributes:
        computer: its name, printable.
        peer_id: 8 bytes.
        sessions: session handle → True if it is read-write.
        handles: object handle → (key id, is the private half).
        reason: given by `*PREASON` for the next private-key operation.
        accepted: ids of vaults of which the user takes a header that is not the newest, until it has opened.
    """

    computer: str
    peer_id: bytes
    sessions: dict[int, bool] = field(default_factory=dict)
    handles: dict[int, tuple[bytes, bool]] = field(default_factory=dict)
    reason: str = ""
    next_session: int = 1
    accepted: set[bytes] = field(default_factory=set)

    def take_reason(self) -> str:
        """Return the reason and forget it."""
        reason, self.reason = self.reason, ""
        return reason
