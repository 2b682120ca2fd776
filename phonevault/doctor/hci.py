"""What the kernel knows of a Bluetooth adapter's features (BlueZ does not tell): HCIGETDEVINFO on a raw HCI socket.

`struct hci_dev_info` of linux/net/bluetooth/hci_sock.h; anybody may ask. Python's socket module may lack the names.
"""

from __future__ import annotations

import fcntl
import socket
import struct

_AF_BLUETOOTH, _BTPROTO_HCI = 31, 1
_HCIGETDEVINFO = 0x800448D3
_DEV_INFO = struct.Struct("=H8s6sIB8s3x")
"""dev_id, name, bdaddr, flags, type, features; the rest is not looked at."""
_DEV_INFO_BYTES = 92
_NO_BREDR = 4, 1 << 5
"""LMP features, byte 4 bit 5: "BR/EDR Not Supported" (Core Specification Vol 2 Part C 3.3)."""


def does_classic(name: str) -> bool | None:
    """Return whether the adapter `hci0`, … can do Bluetooth Classic; None if the kernel does not say."""
    if not name.startswith("hci") or not name[3:].isdigit():
        return None
    buffer = bytearray(_DEV_INFO_BYTES)
    struct.pack_into("=H", buffer, 0, int(name[3:]) & 0xFFFF)
    try:
        with socket.socket(_AF_BLUETOOTH, socket.SOCK_RAW, _BTPROTO_HCI) as probe:
            fcntl.ioctl(probe, _HCIGETDEVINFO, buffer)
    except OSError:
        return None
    return parse(name, bytes(buffer))


def parse(name: str, info: bytes) -> bool | None:
    """Return what a `struct hci_dev_info` says; None if it is not of this adapter, or has no features yet (it is off)."""
    _, found, _, _, _, features = _DEV_INFO.unpack_from(info)
    if found.rstrip(b"\0").decode("ascii", "replace") != name or not any(features):
        return None
    byte, bit = _NO_BREDR
    return not features[byte] & bit
