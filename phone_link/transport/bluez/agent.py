"""The pairing agent: BlueZ's question whether both screens show the same six digits, and its answer.

These six digits are Bluetooth's own (numeric comparison, Core Specification Vol 3 Part H 2.3.5.6.2), not those
of phonevault's pairing, which come after them.
"""

from __future__ import annotations

import contextlib
from typing import Any

from phone_link.transport.base import CompareDigits
from phone_link.transport.bluez import names
from phone_link.transport.bluez.answers import RemoteError
from phone_link.transport.bluez.bus import Bus, Refusal

PATH = "/phonevault/agent"
CAPABILITY = "DisplayYesNo"


class Agent:
    """Answers for this process as long as it is registered.

    Args:
        bus: The connection; agents of other programs are not affected by ours.
        compare: Asks the user; None refuses.

    Attributes:
        asked: A comparison was asked for.
    """

    def __init__(self, bus: Bus, compare: CompareDigits | None) -> None:
        self._bus = bus
        self._compare = compare
        self.asked = False

    def register(self, *, default: bool = False) -> None:
        """Begin to answer.

        Args:
            default: Also for pairings that others begin; until `unregister`, instead of the system's agent.
        """
        self._bus.serve(PATH, self._answer)
        self._manager("RegisterAgent", "os", PATH, CAPABILITY)
        if default:
            self._manager("RequestDefaultAgent", "o", PATH)

    def unregister(self) -> None:
        """Stop; BlueZ also forgets us when the bus is closed."""
        with contextlib.suppress(RemoteError):
            self._manager("UnregisterAgent", "o", PATH)

    def _manager(self, member: str, signature: str, *arguments: str) -> None:
        self._bus.call(names.ROOT, names.AGENT_MANAGER, member, signature, *arguments)

    def _answer(self, member: str, arguments: list[Any], descriptors: list[int]) -> None:
        match member, arguments:
            case "RequestConfirmation", [str(device), int(passkey)]:
                self.asked = True
                if self._compare is None or not self._compare(f"{passkey:06}", self._name(device)):
                    raise Refusal(names.REJECTED)
            case (("Release" | "Cancel"), []):
                return
            case _:
                # Pairing without a comparison (RequestAuthorization: "just works"), PINs to type, other services.
                raise Refusal(names.REJECTED)

    def _name(self, device: str) -> str:
        with contextlib.suppress(RemoteError):
            return str(self._bus.get(device, names.DEVICE, "Alias"))
        return "the other device"
