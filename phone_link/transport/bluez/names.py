"""Names of BlueZ's D-Bus interface (its manual pages org.bluez.*(5)), and addresses as it writes them. Pure."""

from __future__ import annotations

import re

from phone_link.errors import SpecError

SERVICE = "org.bluez"
ROOT = "/org/bluez"
ADAPTER = "org.bluez.Adapter1"
DEVICE = "org.bluez.Device1"
AGENT = "org.bluez.Agent1"
AGENT_MANAGER = "org.bluez.AgentManager1"
PROFILE = "org.bluez.Profile1"
PROFILE_MANAGER = "org.bluez.ProfileManager1"
PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"

REJECTED = "org.bluez.Error.Rejected"
CANCELED = "org.bluez.Error.Canceled"

_ADDRESS = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){5}", re.ASCII)


def parse_address(rest: str) -> str:
    """Return the address of `bluetooth:AA:BB:CC:DD:EE:FF` in upper case; `SpecError` if it is none."""
    address = rest.upper()
    if not rest.isascii() or not _ADDRESS.fullmatch(address):
        raise SpecError(f"bluetooth:{rest}: expected bluetooth:AA:BB:CC:DD:EE:FF")
    return address


def device_path(adapter_path: str, address: str) -> str:
    """Return where BlueZ has the device of an address."""
    return f"{adapter_path}/dev_{address.replace(':', '_')}"


def bluez_version(modalias: str) -> str | None:
    """Return BlueZ's version (`5.66`) from an adapter's Modalias, None if it does not tell.

    BlueZ puts its own version there as the product's, unless main.conf sets another DeviceID.
    """
    found = re.fullmatch(r"(?:usb|bluetooth):v1D6Bp0246d([0-9A-F]{2})([0-9A-F]{2})", modalias, re.ASCII)
    return f"{int(found[1], 16)}.{int(found[2], 16)}" if found else None
