"""The pure part: addresses, versions, BlueZ's objects, and what its answers mean."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phone_link import errors
from phone_link.errors import AdapterMissing, AdapterOff, LinkError, PhoneAbsent, SpecError
from phone_link.transport.bluetooth_uuid import SERVICE_UUID
from phone_link.transport.bluez import kernel, names
from phone_link.transport.bluez.answers import RemoteError, explain
from phone_link.transport.bluez.objects import adapters_of, choose_adapter, devices_of, find_device
from phone_link.transport.bluez.stream import why
from phone_link.transport.open import connect, split_spec

PHONE = "F0:F1:F2:F3:F4:F5"


def test_addresses() -> None:
    assert names.parse_address("f0:f1:f2:f3:f4:f5") == PHONE
    assert names.device_path("/org/bluez/hci1", PHONE) == "/org/bluez/hci1/dev_F0_F1_F2_F3_F4_F5"


@pytest.mark.parametrize(
    "rest", ["F0:F1:F2:F3:F4", f"{PHONE}\n", f" {PHONE}", "F0-F1-F2-F3-F4-F5", "F0:F1:F2:F3:F4:F٥", "hci0"]
)
def test_what_is_no_address(rest: str) -> None:
    with pytest.raises(SpecError, match="AA:BB:CC:DD:EE:FF"):
        names.parse_address(rest)


def test_only_a_listener_needs_no_address() -> None:
    assert split_spec("bluetooth:", listening=True) == ("bluetooth", "")
    with pytest.raises(SpecError, match="lacks an address"):
        connect("bluetooth:")


@pytest.mark.parametrize(
    ("modalias", "version"),
    [
        ("usb:v1D6Bp0246d0542", "5.66"),
        ("bluetooth:v1D6Bp0246d0550", "5.80"),
        ("usb:v1D6Bp0247d0542", None),
        ("usb:v1D6Bp0246d0542x", None),
        ("", None),
    ],
)
def test_version_of_bluez(modalias: str, version: str | None) -> None:
    assert names.bluez_version(modalias) == version


# BlueZ's objects


def objects(*, hci0: bool = True, hci1: bool = True, **device: Any) -> dict[str, Any]:
    return {
        "/org/bluez": {"org.bluez.AgentManager1": {}},
        "/org/bluez/hci1": {names.ADAPTER: {"Address": "1", "Powered": hci1}},
        "/org/bluez/hci0": {names.ADAPTER: {"Address": "0", "Powered": hci0}},
        "/org/bluez/hci1/dev_F0_F1_F2_F3_F4_F5": {names.DEVICE: {"Address": PHONE, **device}},
    }


def test_the_adapter_with_the_bond_is_chosen_then_one_that_is_on() -> None:
    assert choose_adapter(objects(), PHONE).address == "0"
    assert choose_adapter(objects(Bonded=True), PHONE).address == "1"
    assert choose_adapter(objects(hci0=False), PHONE).address == "1"
    with pytest.raises(AdapterOff):
        choose_adapter(objects(hci0=False, hci1=False))
    with pytest.raises(AdapterOff):
        choose_adapter(objects(hci1=False, Bonded=True), PHONE)
    with pytest.raises(AdapterMissing):
        choose_adapter({"/org/bluez": {}})


def test_a_device_says_little_or_much() -> None:
    first, second = adapters_of(objects())
    assert devices_of(objects(), first) == []
    device = find_device(objects(), second, PHONE)
    assert device is not None
    assert (device.name, device.bonded, device.offers_service, device.seen) == (PHONE, False, False, False)
    told = objects(Alias="pocket", Paired=True, UUIDs=[SERVICE_UUID.upper()], RSSI=-40, Connected=True)
    (device,) = devices_of(told, second)
    assert (device.name, device.bonded, device.offers_service, device.seen) == ("pocket", True, True, True)
    (device,) = devices_of(objects(Paired=True, Bonded=False), second)
    assert not device.bonded
    assert find_device(objects(), second, "00:00:00:00:00:00") is None


# Answers


@given(st.text(), st.text())
def test_any_answer_becomes_an_error_of_ours_that_says_something(name: str, text: str) -> None:
    error = explain(RemoteError(name, text), PHONE)
    assert isinstance(error, LinkError)
    assert not isinstance(error, RemoteError)
    assert str(error)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("org.bluez.Error.Failed", "Host is down", errors.PhoneAbsent),
        ("org.bluez.Error.Failed", "br-connection-key-missing", errors.BondMissing),
        ("org.bluez.Error.NotReady", "Resource Not Ready", errors.AdapterOff),
        ("org.bluez.Error.ConnectionAttemptFailed", "Page Timeout", errors.PhoneAbsent),
        ("org.bluez.Error.AuthenticationRejected", "", errors.PairingRefused),
        ("org.bluez.Error.AuthenticationTimeout", "", errors.PairingRefused),
        ("org.freedesktop.DBus.Error.Spawn.ChildExited", "", errors.BluetoothUnavailable),
        ("org.freedesktop.DBus.Error.ServiceUnknown", "", errors.BluetoothUnavailable),
        ("org.freedesktop.DBus.Error.AccessDenied", "", errors.BluetoothDenied),
    ],
)
def test_meanings(name: str, text: str, expected: type[LinkError]) -> None:
    assert type(explain(RemoteError(name, text), PHONE)) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError("timed out"), errors.PhoneAbsent),  # settimeout ran out: no errno
        (OSError(errno.ETIMEDOUT, "x"), errors.PhoneAbsent),
        (OSError(errno.EHOSTDOWN, "x"), errors.PhoneAbsent),
        (OSError(errno.ECONNREFUSED, "x"), errors.BondMissing),
        (OSError(errno.EBUSY, "x"), errors.BluetoothBusy),
        (OSError(errno.ENETDOWN, "x"), errors.AdapterOff),
        (OSError(errno.EINVAL, "x"), LinkError),
    ],
)
def test_meanings_of_connect(error: OSError, expected: type[LinkError]) -> None:
    assert type(kernel.explain(error, PHONE)) is expected


def test_the_end_of_a_link_is_told_from_a_timeout() -> None:
    assert why(OSError(errno.ETIMEDOUT, "Connection timed out")) == "the phone is out of Bluetooth range"
    assert why(OSError(errno.ECONNRESET, "reset")) == "the phone ended the Bluetooth link"
    assert "Input/output error" in why(OSError(errno.EIO, "Input/output error"))


def test_without_bus_and_kernel_support_the_bus_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if Path("/sys/class/bluetooth").exists():
        pytest.skip("not applicable: this kernel has Bluetooth")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nothing")
    with pytest.raises(errors.BluetoothUnavailable, match="D-Bus"):
        connect(f"bluetooth:{PHONE}")


def test_the_kernels_way_is_taken_only_without_a_bus_and_not_for_pairing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from phone_link.transport.base import TransportOptions

    def absent(address: str, deadline: float) -> None:
        raise PhoneAbsent("by the kernel's way")

    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nothing")
    monkeypatch.setattr(kernel, "is_supported", lambda: True)
    monkeypatch.setattr(kernel, "connect", absent)
    with pytest.raises(PhoneAbsent, match="kernel's way"):
        connect(f"bluetooth:{PHONE}")
    with pytest.raises(errors.BluetoothUnavailable):
        connect(f"bluetooth:{PHONE}", options=TransportOptions(pairing=True))
