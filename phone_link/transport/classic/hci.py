"""HCI packets (Core Specification Vol 4 Part E) as H4 carries them (Vol 4 Part A): pure, no I/O."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from phone_link.errors import ProtocolError

COMMAND_PACKET = 1
ACL_PACKET = 2
EVENT_PACKET = 4
_HEADERS = {ACL_PACKET: struct.Struct("<HH"), EVENT_PACKET: struct.Struct("<BB")}

# Commands: opcode = OGF << 10 | OCF, Vol 4 Part E 7
CREATE_CONNECTION = 0x0405
DISCONNECT = 0x0406
CREATE_CONNECTION_CANCEL = 0x0408
REJECT_CONNECTION_REQUEST = 0x040A
LINK_KEY_REQUEST_REPLY = 0x040B
LINK_KEY_REQUEST_NEGATIVE_REPLY = 0x040C
AUTHENTICATION_REQUESTED = 0x0411
SET_CONNECTION_ENCRYPTION = 0x0413
IO_CAPABILITY_REQUEST_REPLY = 0x042B
USER_CONFIRMATION_REQUEST_REPLY = 0x042C
USER_CONFIRMATION_REQUEST_NEGATIVE_REPLY = 0x042D
IO_CAPABILITY_REQUEST_NEGATIVE_REPLY = 0x0434
SET_EVENT_MASK = 0x0C01
RESET = 0x0C03
WRITE_PAGE_TIMEOUT = 0x0C18
WRITE_SIMPLE_PAIRING_MODE = 0x0C56
READ_BUFFER_SIZE = 0x1005
READ_BD_ADDR = 0x1009

# Events, Vol 4 Part E 7.7
CONNECTION_COMPLETE = 0x03
CONNECTION_REQUEST = 0x04
DISCONNECTION_COMPLETE = 0x05
AUTHENTICATION_COMPLETE = 0x06
ENCRYPTION_CHANGE = 0x08
COMMAND_COMPLETE = 0x0E
COMMAND_STATUS = 0x0F
NUMBER_OF_COMPLETED_PACKETS = 0x13
LINK_KEY_REQUEST = 0x17
LINK_KEY_NOTIFICATION = 0x18
IO_CAPABILITY_REQUEST = 0x31
USER_CONFIRMATION_REQUEST = 0x33

# Error codes, Vol 1 Part F
SUCCESS = 0x00
PAGE_TIMEOUT = 0x04
AUTHENTICATION_FAILURE = 0x05
PIN_OR_KEY_MISSING = 0x06
CONNECTION_TIMEOUT = 0x08
UNACCEPTABLE_BD_ADDR = 0x0F
CONNECTION_ACCEPT_TIMEOUT = 0x10
REMOTE_USER_TERMINATED = 0x13
TERMINATED_BY_LOCAL_HOST = 0x16
PAIRING_NOT_ALLOWED = 0x18

# Parameters
ALL_EVENTS = b"\xff\xff\xff\xff\xff\xff\xff\x3f"
ACL_PACKET_TYPES = 0xCC18
"""DM1, DH1, DM3, DH3, DM5, DH5, and all EDR packets."""
DISPLAY_YES_NO = 0x01
MITM_GENERAL_BONDING = 0x05
AUTHENTICATED_KEY_TYPES = (0x05, 0x08)
SLOT_S = 0.625e-3

ACL_START = 0
ACL_CONTINUATION = 1
ACL_START_FROM_CONTROLLER = 2


def parse_address(text: str) -> bytes:
    """Read `F0:F1:F2:F3:F4:F5` into the six bytes of the wire; `ValueError` if it is malformed."""
    octets = text.split(":")
    if len(octets) != 6 or any(len(octet) != 2 for octet in octets):
        raise ValueError(f"not a Bluetooth address: {text!r}")
    return bytes.fromhex("".join(reversed(octets)))


def format_address(wire: bytes) -> str:
    """The text form of a wire address."""
    return ":".join(f"{octet:02X}" for octet in reversed(wire))


def command(opcode: int, parameters: bytes = b"") -> bytes:
    """An H4 command packet (5.4.1)."""
    return struct.pack("<BHB", COMMAND_PACKET, opcode, len(parameters)) + parameters


def acl(handle: int, boundary: int, data: bytes) -> bytes:
    """An H4 ACL data packet (5.4.2)."""
    return struct.pack("<BHH", ACL_PACKET, handle | boundary << 12, len(data)) + data


class PacketSplitter:
    """Cuts the byte stream from a controller into packets. Holds at most one packet (64 KiB)."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Yield (packet type, first header field, payload) for each packet that is complete.

        The first header field is the event code, or an ACL packet's handle and flags.

        Raises:
            ProtocolError: A packet type that no controller sends to us.
        """
        self._buffer += data
        while self._buffer:
            kind = self._buffer[0]
            header = _HEADERS.get(kind)
            if header is None:
                raise ProtocolError(f"the Bluetooth adapter sent packet type {kind}")
            start = 1 + header.size
            if len(self._buffer) < start:
                return
            field, length = header.unpack_from(self._buffer, 1)
            if len(self._buffer) < start + length:
                return
            payload = bytes(self._buffer[start : start + length])
            del self._buffer[: start + length]
            yield kind, field, payload
