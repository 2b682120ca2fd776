"""The search for phones: an inquiry that runs until it is stopped, and what it has found so far."""

from __future__ import annotations

import contextlib
import time
from types import TracebackType

from phone_link.errors import PhoneAbsent
from phone_link.transport.bluez import names
from phone_link.transport.bluez.answers import RemoteError
from phone_link.transport.bluez.bus import Bus, Typed
from phone_link.transport.bluez.objects import Adapter, Device, choose_adapter, devices_of, find_device

LOOK_EVERY_S = 0.25


class Discovery:
    """An inquiry on an adapter; use with `with`.

    Raises:
        RemoteError: BlueZ refuses.
    """

    def __init__(self, bus: Bus, adapter: Adapter) -> None:
        self._bus = bus
        self._adapter = adapter

    def __enter__(self) -> Discovery:
        only_classic = {"Transport": Typed("s", "bredr")}
        self._bus.call(self._adapter.path, names.ADAPTER, "SetDiscoveryFilter", "a{sv}", only_classic)
        self._bus.call(self._adapter.path, names.ADAPTER, "StartDiscovery")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # BlueZ stops by itself when our connection to the bus ends.
        with contextlib.suppress(RemoteError):
            self._bus.call(self._adapter.path, names.ADAPTER, "StopDiscovery")

    def devices(self) -> list[Device]:
        """Return what is paired or has been seen, offering phones first."""
        found = [
            device
            for device in devices_of(self._bus.objects(), self._adapter)
            if device.bonded or device.seen
        ]
        return sorted(found, key=lambda device: (not device.offers_service, not device.seen, device.address))

    def wait_for(self, address: str, deadline: float) -> Device:
        """Return the device of an address as soon as it is found.

        Raises:
            PhoneAbsent: It is not there by the deadline (monotonic seconds).
        """
        while True:
            device = find_device(self._bus.objects(), self._adapter, address)
            if device is not None:
                return device
            if time.monotonic() >= deadline:
                raise PhoneAbsent(
                    f"no Bluetooth device {address} was found",
                    hint="make the phone discoverable: phonevault-phone serve … asks for it, or type pair there",
                )
            time.sleep(LOOK_EVERY_S)


def discover(bus: Bus) -> Discovery:
    """Return a search on the adapter that is on; `AdapterMissing`, `AdapterOff` if there is none."""
    return Discovery(bus, choose_adapter(bus.objects()))
