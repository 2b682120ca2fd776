"""The kernel's own Bluetooth sockets, for a computer without D-Bus or bluetoothd: SDP, then RFCOMM.

The bond must be there already. Needs an interpreter built with AF_BLUETOOTH.
"""

from __future__ import annotations

import errno
import socket
import struct
import time

from phone_link.errors import AdapterOff, BluetoothBusy, BondMissing, LinkError, PhoneAbsent, ServiceMissing
from phone_link.transport.base import Stream
from phone_link.transport.bluetooth_uuid import SERVICE_UUID
from phone_link.transport.bluez.stream import rfcomm_stream
from phone_link.transport.classic import sdp

# linux/include/net/bluetooth/bluetooth.h
SOL_BLUETOOTH = 274
BT_SECURITY = 4
BT_SECURITY_LOW = 1
BT_SECURITY_HIGH = 3
"""Authenticated and encrypted, or no connection."""
SDP_MTU_BYTES = 672

_NO_BLUETOOTH_HERE = (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ENODEV, errno.EHOSTUNREACH)


def is_supported() -> bool:
    """Return whether this interpreter knows Bluetooth sockets."""
    return hasattr(socket, "AF_BLUETOOTH")


def connect(address: str, deadline: float) -> Stream | None:
    """Connect to the phonevault service of a bonded phone; None if this machine has no Bluetooth at all.

    Args:
        address: The phone's.
        deadline: Monotonic seconds.

    Raises:
        PhoneAbsent, BondMissing, BluetoothBusy, AdapterOff, ServiceMissing, LinkError: As for `connect.connect`.
    """
    try:
        channel = _find_channel(address, deadline)
        return rfcomm_stream(
            _open(socket.SOCK_STREAM, socket.BTPROTO_RFCOMM, (address, channel), BT_SECURITY_HIGH, deadline)
        )
    except OSError as error:
        if error.errno in _NO_BLUETOOTH_HERE:
            return None
        raise explain(error, address) from None


def _find_channel(address: str, deadline: float) -> int:
    # SDP is open to everybody (Core Specification Vol 3 Part C 5.2.2.8).
    psm = (address, sdp.PSM)
    with _open(socket.SOCK_SEQPACKET, socket.BTPROTO_L2CAP, psm, BT_SECURITY_LOW, deadline) as directory:
        query = sdp.ChannelQuery(bytes.fromhex(SERVICE_UUID.replace("-", "")))
        continuation: bytes | None = b""
        while continuation is not None:
            directory.settimeout(max(0.1, deadline - time.monotonic()))
            directory.send(query.request(continuation))
            continuation = query.answer(directory.recv(SDP_MTU_BYTES))
    number = query.channel()
    if number is None:
        raise ServiceMissing(f"the phone {address} offers no phonevault service")
    return number


def _open(
    kind: int, protocol: int, address: tuple[str, int], security: int, deadline: float
) -> socket.socket:
    sock = socket.socket(socket.AF_BLUETOOTH, kind, protocol)
    try:
        # Before connect: afterwards it changes nothing.
        sock.setsockopt(SOL_BLUETOOTH, BT_SECURITY, struct.pack("BB", security, 0))
        sock.settimeout(max(0.1, deadline - time.monotonic()))
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def explain(error: OSError, phone: str) -> LinkError:
    """Return what an error of connect(2) means. A timeout of ours has no errno; ETIMEDOUT is the link's."""
    match error.errno:
        case None | errno.ETIMEDOUT | errno.EHOSTDOWN:
            return PhoneAbsent(f"the phone {phone} does not answer by Bluetooth")
        case errno.ECONNREFUSED | errno.EACCES:
            return BondMissing(
                f"the phone {phone} refuses the Bluetooth link: it has forgotten this computer"
            )
        case errno.EBUSY | errno.EISCONN | errno.EALREADY:
            return BluetoothBusy(f"another program of this computer has the Bluetooth link to {phone}")
        case errno.ENETDOWN:
            return AdapterOff("the Bluetooth adapter is switched off")
    return LinkError(f"Bluetooth with {phone} failed ({error.strerror or error})")
