"""Bluetooth pairing from the computer's side: find the device, pair, insist on the bond."""

from __future__ import annotations

import time

from phone_link.errors import BondMissing, PairingRefused
from phone_link.transport.base import CompareDigits
from phone_link.transport.bluez import names
from phone_link.transport.bluez.agent import Agent
from phone_link.transport.bluez.answers import RemoteError
from phone_link.transport.bluez.bus import Bus
from phone_link.transport.bluez.discovery import Discovery
from phone_link.transport.bluez.objects import Adapter, Device, find_device

SEARCH_S = 15.0
"""An inquiry takes 10.24 s."""
PAIR_TIMEOUT_S = 90.0
"""Two people compare digits meanwhile; Bluetooth itself gives up after 30 s without an answer."""


def pair(bus: Bus, adapter: Adapter, address: str, compare: CompareDigits | None) -> Device:
    """Pair with a device and return it, bonded.

    Args:
        bus: BlueZ.
        adapter: Powered.
        address: The device's.
        compare: Asks this side's user for the comparison.

    Raises:
        PhoneAbsent: It is not found.
        RemoteError: BlueZ's, for `answers.explain`: the other side refused, is gone, ….
        BondMissing: Paired, but the key was not kept.
        PairingRefused: Paired without a comparison, as with something that has no display; that bond is removed.
    """
    device = find_device(bus.objects(), adapter, address)
    if device is None:
        with Discovery(bus, adapter) as search:
            device = search.wait_for(address, time.monotonic() + SEARCH_S)
    compared = _pair(bus, device, compare)
    device = find_device(bus.objects(), adapter, address)
    if device is None or not device.bonded:
        raise BondMissing(f"{address} paired, but did not bond: the phone keeps no Bluetooth key")
    if not compared:
        forget(bus, adapter, device)
        raise PairingRefused(f"{address} pairs by Bluetooth without a comparison of digits")
    return device


def _pair(bus: Bus, device: Device, compare: CompareDigits | None) -> bool:
    """Pair; False if nobody was asked (BlueZ confirms by itself what has no display)."""
    agent = Agent(bus, compare)
    agent.register()
    try:
        bus.call(device.path, names.DEVICE, "Pair", timeout_s=PAIR_TIMEOUT_S)
    except RemoteError as error:
        if error.name != "org.bluez.Error.AlreadyExists":
            raise
        return True
    finally:
        agent.unregister()
    return agent.asked


def forget(bus: Bus, adapter: Adapter, device: Device) -> None:
    """Remove a bond of which the other side knows nothing any more."""
    bus.call(adapter.path, names.ADAPTER, "RemoveDevice", "o", device.path)
