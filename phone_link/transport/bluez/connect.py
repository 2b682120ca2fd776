"""From an address to a stream, through BlueZ: adapter, bond, profile, connection."""

from __future__ import annotations

import contextlib
import queue
import socket
import time
from typing import Any

from phone_link.errors import BluetoothUnavailable, BondMissing, LinkError, PhoneAbsent
from phone_link.transport.base import Stream, TransportOptions
from phone_link.transport.bluetooth_uuid import SERVICE_UUID
from phone_link.transport.bluez import kernel, names
from phone_link.transport.bluez.answers import RemoteError
from phone_link.transport.bluez.bus import Bus
from phone_link.transport.bluez.objects import Adapter, Device, choose_adapter, find_device
from phone_link.transport.bluez.pairing import forget, pair
from phone_link.transport.bluez.profile import Profile
from phone_link.transport.bluez.session import explained
from phone_link.transport.bluez.stream import rfcomm_stream

PAGE_TIMEOUT_S = 5.2
DISCONNECT_S = 0.5
HANDOVER_S = 1.0
"""BlueZ hands the connection over before it answers ConnectProfile."""


def connect(address: str, timeout_s: float, options: TransportOptions) -> Stream:
    """Connect to the phonevault service of a phone.

    Args:
        address: The phone's, upper case.
        timeout_s: Seconds for the connection; pairing has times of its own (`pairing`).
        options: `pairing` allows a new bond, for which `compare` asks; a bond the phone has forgotten is made anew.

    Raises:
        BluetoothUnavailable, BluetoothDenied, AdapterMissing, AdapterOff: This computer's Bluetooth.
        PhoneAbsent, ServiceMissing: The phone is not there, or does not run phonevault.
        BondMissing, PairingRefused: No bond.
        BluetoothBusy: Another program of this computer has the link.
        LinkError: Anything else.
    """
    deadline = time.monotonic() + timeout_s
    try:
        with explained(address):
            bus = Bus(timeout_s)
    except BluetoothUnavailable:
        if options.pairing or not kernel.is_supported():
            raise
        # No bluetoothd (a system without D-Bus): the kernel's own sockets, with a bond made before.
        stream = kernel.connect(address, deadline)
        if stream is None:
            raise
        return stream
    try:
        with explained(address):
            return _connect(bus, address, deadline, options)
    except BaseException:
        bus.close()
        raise


def _connect(bus: Bus, address: str, deadline: float, options: TransportOptions) -> Stream:
    objects = bus.objects()
    adapter = choose_adapter(objects, address)
    device = find_device(objects, adapter, address)
    bonded = device is not None and device.bonded
    if device is None or not device.bonded:
        if not options.pairing:
            raise BondMissing(f"the phone {address} is not paired with this computer by Bluetooth")
        device, deadline = _pair(bus, adapter, address, deadline, options)
    try:
        return _open(bus, device, deadline)
    except (RemoteError, LinkError) as error:
        if not (options.pairing and bonded and _is_forgotten(error, address)):
            raise
    forget(bus, adapter, device)
    device, deadline = _pair(bus, adapter, address, deadline, options)
    return _open(bus, device, deadline)


def _pair(
    bus: Bus, adapter: Adapter, address: str, deadline: float, options: TransportOptions
) -> tuple[Device, float]:
    """Pair, and give the connection as long as it would have had without."""
    left_s = max(PAGE_TIMEOUT_S, deadline - time.monotonic())
    device = pair(bus, adapter, address, options.compare)
    return device, time.monotonic() + left_s


def _is_forgotten(error: LinkError, address: str) -> bool:
    from phone_link.transport.bluez.answers import explain

    return isinstance(explain(error, address) if isinstance(error, RemoteError) else error, BondMissing)


def _open(bus: Bus, device: Device, deadline: float) -> Stream:
    handed_over: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()

    def take(path: str, sock: socket.socket) -> bool:
        if path != device.path:
            return False
        handed_over.put(sock)
        return True

    profile = Profile(bus, take, on_disconnection=lambda path: None, on_release=lambda: None)
    profile.register(server=False)
    try:
        left_s = max(0.1, deadline - time.monotonic())
        bus.call(device.path, names.DEVICE, "ConnectProfile", "s", SERVICE_UUID, timeout_s=left_s)
        return _stream(bus, device, handed_over.get(timeout=HANDOVER_S))
    except queue.Empty:
        profile.unregister()
        raise LinkError(f"BlueZ connected to {device.address}, but handed no connection over") from None
    except RemoteError as error:
        profile.unregister()
        if error.name == "org.freedesktop.DBus.Error.NoReply":
            _drop_silent_link(bus, device)
            raise PhoneAbsent(f"the phone {device.address} does not answer by Bluetooth in time") from None
        raise


def _drop_silent_link(bus: Bus, device: Device) -> None:
    """End a link on which nothing is answered, so that the next attempt pages the phone anew.

    It may lead to the former self of a phone whose Bluetooth died and came back; the kernel would hold on to it until the link
    supervision timeout, 20 s.
    """
    with contextlib.suppress(RemoteError):
        if bus.get(device.path, names.DEVICE, "Connected"):
            bus.call(device.path, names.DEVICE, "Disconnect", timeout_s=DISCONNECT_S)


def _stream(bus: Bus, device: Device, sock: socket.socket) -> Stream:
    def released() -> None:
        with contextlib.suppress(RemoteError):
            bus.call(
                device.path, names.DEVICE, "DisconnectProfile", "s", SERVICE_UUID, timeout_s=DISCONNECT_S
            )
        bus.close()

    def hang_up() -> None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    def changed(news: list[Any]) -> None:
        # A loss of the ACL link is told here at once; the socket may take longer. The heartbeat still decides.
        if news[0].get("Connected") is False:
            hang_up()

    stream = rfcomm_stream(sock, released)
    try:
        bus.watch(device.path, names.DEVICE, changed)
    except BaseException:
        stream.close()
        raise
    bus.on_lost(hang_up)
    return stream
