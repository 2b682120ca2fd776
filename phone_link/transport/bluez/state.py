"""The state of this computer's Bluetooth, for whoever wants to tell people what is missing."""

from __future__ import annotations

from phone_link.transport.bluez.objects import Adapter, adapters_of
from phone_link.transport.bluez.session import bluez


def adapters(timeout_s: float = 5.0) -> list[Adapter]:
    """Return this computer's adapters; none is no error here.

    Args:
        timeout_s: Seconds BlueZ may take; the bus may have to start it.

    Raises:
        BluetoothUnavailable, BluetoothDenied: BlueZ cannot be asked.
        LinkError: It answers something else.
    """
    with bluez("", timeout_s) as bus:
        return adapters_of(bus.objects())
