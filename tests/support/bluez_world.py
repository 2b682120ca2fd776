"""Two machines with (mock) Bluetooth that hear each other; this process can be on either."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from phone_link.transport.base import Listener, Stream, TransportOptions
from phone_link.transport.bluetooth_uuid import SERVICE_UUID
from phone_link.transport.open import connect, listen
from support.mock_bluez import Air, MockBluez

PC = "F0:F1:F2:F3:F4:F6"
PHONE = "F0:F1:F2:F3:F4:F5"
SPEC = f"bluetooth:{PHONE}"


@dataclass
class World:
    """Two machines with (mock) Bluetooth."""

    air: Air
    pc: MockBluez
    phone: MockBluez
    pc_bus: str
    phone_bus: str
    directory: Path

    def on(self, bus: str) -> None:
        """From now on this process is on that machine."""
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = bus

    def listen(self, options: TransportOptions | None = None) -> Listener:
        self.on(self.phone_bus)
        try:
            return listen("bluetooth:", options or TransportOptions())
        finally:
            self.on(self.pc_bus)

    def connect(self, timeout_s: float = 6.0, options: TransportOptions | None = None) -> Stream:
        return connect(SPEC, timeout_s, options or TransportOptions())

    def bond(self) -> None:
        """As if they had been paired before."""
        self.air.call(lambda: self.pc.know(PHONE, bonded=True, uuids=(SERVICE_UUID,)))
        self.air.call(lambda: self.phone.know(PC, bonded=True))
