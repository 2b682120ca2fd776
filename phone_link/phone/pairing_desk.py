"""What the agent does when a new computer wants to pair (the hooks of `phone_link.pairing.phone`)."""

from __future__ import annotations

import threading
from collections.abc import Callable

from phone_link.phone.clock import utc_now
from phone_link.phone.log import Event, LogEntry
from phone_link.phone.store import Store
from phone_link.phone.store_format import Peer

CompareCode = Callable[[str, str], bool | None]
"""Asks whether a computer shows these digits; None if nobody answered."""
DECISION_TIMEOUT_S = 60.0


def accept_any(code: str, computer: str) -> bool:
    """Agree without comparing (`--accept-pairing`): for scripts and tests."""
    return True


class PairingDesk:
    """One pairing attempt: `PairingHooks`."""

    def __init__(
        self,
        store: Store,
        compare: CompareCode,
        say: Callable[[str], None],
        record: Callable[[LogEntry], None],
        phone_name: str,
    ) -> None:
        self._store = store
        self._compare = compare
        self._say = say
        self._record = record
        self._phone_name = phone_name
        self._computer = ""
        self._agreed: bool | None = None
        self._decided = threading.Event()

    @property
    def phone_name(self) -> str:
        """The name sent to the computer."""
        return self._phone_name

    def show(self, code: str, computer_name: str) -> None:
        """Print the digits and begin to ask."""
        self._computer = computer_name
        shown = f"{code[:3]} {code[3:]}"
        self._say(f"pairing code {shown} with {computer_name}\n")
        threading.Thread(target=self._ask, args=(shown,), name="pairing question", daemon=True).start()

    def _ask(self, shown: str) -> None:
        self._agreed = self._compare(shown, self._computer)
        self._decided.set()

    def confirmed(self) -> bool | None:
        """Wait for the user's decision; record a refusal."""
        agreed = self._agreed if self._decided.wait(DECISION_TIMEOUT_S) else None
        if not agreed:
            detail = "no answer" if agreed is None else "refused on the phone"
            self._record(LogEntry(Event.PAIRING_REFUSED, self._computer, detail=detail))
        return agreed

    def store(self, static_public: bytes, computer_name: str) -> None:
        """Remember the computer."""
        peer = Peer(computer_name, static_public, utc_now())
        self._store.add_peer(peer)
        self._record(LogEntry(Event.PAIRED, computer_name, detail=f"computer {peer.id.hex()}"))
