"""Adapters and devices as BlueZ knows them, as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phone_link.errors import AdapterMissing, AdapterOff
from phone_link.transport.bluetooth_uuid import SERVICE_UUID
from phone_link.transport.bluez import names

Objects = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Adapter:
    """A Bluetooth adapter of this computer.

    Attributes:
        path: D-Bus object, `/org/bluez/hci0`.
        address: its own.
        powered: switched on.
        discoverable: others find it.
        bluez_version: as `5.66`, None if it does not tell.
    """

    path: str
    address: str
    powered: bool
    discoverable: bool
    bluez_version: str | None


@dataclass(frozen=True)
class Device:
    """A device BlueZ has seen or is paired with. Names come from outside: show them with care.

    Attributes:
        path: D-Bus object.
        address: `AA:BB:CC:DD:EE:FF`.
        name: what it calls itself; its address if it does not say.
        bonded: paired, and the link key is kept.
        connected: an ACL link is up.
        offers_service: it says that it offers phonevault. Some say so only after pairing.
        seen: it answered the search that is going on (an RSSI is known).
    """

    path: str
    address: str
    name: str
    bonded: bool
    connected: bool
    offers_service: bool
    seen: bool


def adapters_of(objects: Objects) -> list[Adapter]:
    """Return the adapters, in BlueZ's order of names."""
    return [
        _adapter(path, objects[path][names.ADAPTER])
        for path in sorted(objects)
        if names.ADAPTER in objects[path]
    ]


def _adapter(path: str, properties: Mapping[str, Any]) -> Adapter:
    return Adapter(
        path=path,
        address=str(properties.get("Address", "")),
        powered=bool(properties.get("Powered", False)),
        discoverable=bool(properties.get("Discoverable", False)),
        bluez_version=names.bluez_version(str(properties.get("Modalias", ""))),
    )


def devices_of(objects: Objects, adapter: Adapter) -> list[Device]:
    """Return the devices of an adapter."""
    return [
        _device(path, interfaces[names.DEVICE])
        for path, interfaces in sorted(objects.items())
        if names.DEVICE in interfaces and path.startswith(adapter.path + "/")
    ]


def _device(path: str, properties: Mapping[str, Any]) -> Device:
    address = str(properties.get("Address", ""))
    # Bonded came with BlueZ 5.65; before, Paired is what there is.
    bonded = properties.get("Bonded", properties.get("Paired", False))
    return Device(
        path=path,
        address=address,
        name=str(properties.get("Alias") or properties.get("Name") or address),
        bonded=bool(bonded),
        connected=bool(properties.get("Connected", False)),
        offers_service=SERVICE_UUID in [str(uuid).lower() for uuid in properties.get("UUIDs", ())],
        seen="RSSI" in properties,
    )


def choose_adapter(objects: Objects, address: str | None = None) -> Adapter:
    """Return the adapter to use: one that is paired with the address, else one that is on.

    Raises:
        AdapterMissing: There is none.
        AdapterOff: It is switched off.
    """
    adapters = adapters_of(objects)
    if not adapters:
        raise AdapterMissing("this computer has no Bluetooth adapter")

    def preference(adapter: Adapter) -> tuple[bool, bool]:
        return any(
            device.address == address and device.bonded for device in devices_of(objects, adapter)
        ), adapter.powered

    best = max(adapters, key=preference)
    if not best.powered:
        raise AdapterOff("the Bluetooth adapter is switched off")
    return best


def find_device(objects: Objects, adapter: Adapter, address: str) -> Device | None:
    """Return the device of an address, None if BlueZ does not know it."""
    return next((device for device in devices_of(objects, adapter) if device.address == address), None)
