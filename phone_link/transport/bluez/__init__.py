"""bluetooth:AA:BB:CC:DD:EE:FF: real Bluetooth Classic through BlueZ, the system's Bluetooth service.

BlueZ does discovery, pairing, the service directory and security; this room asks it over D-Bus and gets a
connected RFCOMM socket. Below phonevault's own channel none of it is trusted (docs/protocol.md, clause 1).
"""

from __future__ import annotations

from phone_link.transport.base import Listener, Stream, TransportOptions
from phone_link.transport.bluez.names import parse_address


def connect_bluez(rest: str, timeout_s: float, options: TransportOptions) -> Stream:
    """Connect to the phone at an address; see `connect.connect`. `SpecError` if it is malformed."""
    address = parse_address(rest)
    from phone_link.transport.bluez.connect import connect

    return connect(address, timeout_s, options)


def listen_bluez(rest: str, options: TransportOptions) -> Listener:
    """Offer the service to computers; `rest` is empty. See `listener.BluezListener`."""
    from phone_link.errors import SpecError

    if rest:
        raise SpecError(f"bluetooth:{rest}: a phone listens at bluetooth: without an address")
    from phone_link.transport.bluez.listener import BluezListener

    return BluezListener(options)
