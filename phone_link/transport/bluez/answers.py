"""What BlueZ and the bus answer when something fails, as errors of ours. Pure."""

from __future__ import annotations

from phone_link.errors import (
    AdapterOff,
    BluetoothBusy,
    BluetoothDenied,
    BluetoothUnavailable,
    BondMissing,
    LinkError,
    PairingRefused,
    PhoneAbsent,
    ServiceMissing,
)


class RemoteError(LinkError):
    """An error reply of D-Bus; becomes an error of ours by `explain` before it leaves this room.

    Attributes:
        name: as `org.bluez.Error.Failed`.
        text: BlueZ's, as `br-connection-page-timeout`; never relied on alone where the name says enough.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"the Bluetooth service answers {name}: {text}" if text else name)
        self.name = name
        self.text = text


_UNAVAILABLE = "the Bluetooth service (BlueZ) of this computer does not run"
_ABSENT = "the phone {phone} does not answer by Bluetooth"
_FORGOTTEN = "the phone {phone} refuses the Bluetooth link: it has forgotten this computer"
_BUSY = "another program of this computer has the Bluetooth link to {phone}"
_OFF = "the Bluetooth adapter is switched off"
_MISSING = "the phone {phone} offers no phonevault service"

# Error names: src/error.c, and new_authentication_return in src/device.c for Pair.
_BY_NAME: dict[str, tuple[type[LinkError], str]] = {
    "org.freedesktop.DBus.Error.ServiceUnknown": (BluetoothUnavailable, _UNAVAILABLE),
    "org.freedesktop.DBus.Error.NameHasNoOwner": (BluetoothUnavailable, _UNAVAILABLE),
    "org.freedesktop.DBus.Error.NoReply": (BluetoothUnavailable, "the Bluetooth service does not answer"),
    "org.freedesktop.DBus.Error.TimedOut": (BluetoothUnavailable, "the Bluetooth service does not start"),
    "org.freedesktop.DBus.Error.Disconnected": (BluetoothUnavailable, "the system's D-Bus is gone"),
    "org.freedesktop.DBus.Error.AccessDenied": (
        BluetoothDenied,
        "the system does not let this user use its Bluetooth service",
    ),
    "org.bluez.Error.NotReady": (AdapterOff, _OFF),
    "org.bluez.Error.InProgress": (BluetoothBusy, _BUSY),
    "org.bluez.Error.NotPermitted": (BluetoothBusy, _BUSY),
    "org.bluez.Error.NotAvailable": (ServiceMissing, _MISSING),
    "org.bluez.Error.BREDR.ProfileUnavailable": (ServiceMissing, _MISSING),
    "org.bluez.Error.ConnectionAttemptFailed": (PhoneAbsent, _ABSENT),
    "org.bluez.Error.AuthenticationTimeout": (
        PairingRefused,
        "Bluetooth pairing: no answer in time on one of the two screens",
    ),
    "org.bluez.Error.AuthenticationRejected": (PairingRefused, "Bluetooth pairing was refused"),
    "org.bluez.Error.AuthenticationCanceled": (PairingRefused, "Bluetooth pairing was broken off"),
    "org.bluez.Error.AuthenticationFailed": (PairingRefused, "Bluetooth pairing was refused or failed"),
}
_UNAVAILABLE_PREFIX = "org.freedesktop.DBus.Error.Spawn."
"""The bus tried to start bluetoothd and could not."""

# Texts of org.bluez.Error.Failed (src/error.h); bluetoothd before 5.62 has the words of strerror(3).
_BY_TEXT: dict[str, tuple[type[LinkError], str]] = {
    "br-connection-page-timeout": (PhoneAbsent, _ABSENT),
    "br-connection-timeout": (PhoneAbsent, _ABSENT),
    "Host is down": (PhoneAbsent, _ABSENT),
    "br-connection-refused": (BondMissing, _FORGOTTEN),
    "br-connection-key-missing": (BondMissing, _FORGOTTEN),
    "Connection refused": (BondMissing, _FORGOTTEN),
    "br-connection-busy": (BluetoothBusy, _BUSY),
    "br-connection-already-connected": (BluetoothBusy, _BUSY),
    "Device or resource busy": (BluetoothBusy, _BUSY),
    "br-connection-adapter-not-powered": (AdapterOff, _OFF),
    "br-connection-profile-unavailable": (ServiceMissing, _MISSING),
    "br-connection-not-supported": (ServiceMissing, _MISSING),
    "Protocol not available": (ServiceMissing, _MISSING),
    "br-connection-aborted-by-remote": (PhoneAbsent, "the phone {phone} broke the Bluetooth link off"),
}


def explain(error: RemoteError, phone: str) -> LinkError:
    """Return the error of ours that an answer means.

    Args:
        error: BlueZ's.
        phone: the other side's address, for the message.
    """
    found = _BY_TEXT.get(error.text) if error.name == "org.bluez.Error.Failed" else None
    found = found or _BY_NAME.get(error.name)
    if found is None and error.name.startswith(_UNAVAILABLE_PREFIX):
        found = (BluetoothUnavailable, _UNAVAILABLE)
    if found is None:
        return LinkError(f"Bluetooth with {phone} failed ({error.name}: {error.text})")
    kind, message = found
    return kind(message.format(phone=phone))
