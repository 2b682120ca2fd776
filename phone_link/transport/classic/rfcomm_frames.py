"""RFCOMM frames (TS 07.10 as adapted by the Bluetooth RFCOMM specification 1.2): pure, no I/O."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from phone_link.errors import ProtocolError

PSM = 0x0003

# Frame types without the poll/final bit (TS 07.10 5.2.1.3)
SABM, UA, DM, DISC, UIH = 0x2F, 0x63, 0x0F, 0x43, 0xEF
POLL_FINAL = 0x10

# Multiplexer commands (TS 07.10 5.4.6.3)
PN, MSC, TEST, NSC, RPN, RLS = 0x20, 0x38, 0x08, 0x04, 0x24, 0x14

CREDIT_FLOW_REQUEST, CREDIT_FLOW_RESPONSE = 0xF0, 0xE0
MODEM_READY = 0x8D
"""EA, RTC, RTR, DV (TS 07.10 5.4.6.3.7)."""
_PARAMETERS = struct.Struct("<BBBBHBB")


def _crc_table() -> bytes:
    table = bytearray()
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0xE0 if value & 1 else 0)
        table.append(value)
    return bytes(table)


_CRC = _crc_table()


def fcs(data: bytes) -> int:
    """The frame check sequence (TS 07.10 annex B)."""
    value = 0xFF
    for octet in data:
        value = _CRC[value ^ octet]
    return 0xFF - value


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        kind: SABM, UA, DM, DISC or UIH.
        dlci: 0 is the multiplexer's control channel.
        command: The C/R bit.
        poll: The P/F bit; on a UIH frame of a data channel: `credits` is present.
        information: The payload without the credit octet.
        credits: What the sender grants (RFCOMM 6.5.2).
    """

    kind: int
    dlci: int
    command: bool
    poll: bool = True
    information: bytes = b""
    credits: int = 0

    def encode(self) -> bytes:
        """The frame as the L2CAP payload it travels in."""
        header = bytes([self.dlci << 2 | self.command << 1 | 1, self.kind | (POLL_FINAL if self.poll else 0)])
        length = len(self.information)
        size = bytes([length << 1 | 1]) if length < 128 else struct.pack("<H", length << 1)
        check = fcs(header if self.kind == UIH else header + size)
        granted = bytes([self.credits]) if self.kind == UIH and self.poll else b""
        return b"".join((header, size, granted, self.information, bytes([check])))


def parse(data: bytes) -> Frame:
    """Read a frame; `ProtocolError` if it is not exactly one."""
    if len(data) < 4:
        raise ProtocolError("RFCOMM frame too short")
    address, control = data[0], data[1]
    kind = control & ~POLL_FINAL
    poll = bool(control & POLL_FINAL)
    if kind not in (SABM, UA, DM, DISC, UIH) or not address & 1:
        raise ProtocolError("unknown kind of RFCOMM frame")
    start, length = (3, data[2] >> 1) if data[2] & 1 else (4, (data[2] | data[3] << 8) >> 1)
    dlci = address >> 2
    has_credits = kind == UIH and poll and dlci != 0
    if len(data) != start + has_credits + length + 1:
        raise ProtocolError("RFCOMM frame of a wrong length")
    if fcs(data[:2] if kind == UIH else data[:start]) != data[-1]:
        raise ProtocolError("RFCOMM frame check sequence is wrong")
    return Frame(
        kind,
        dlci,
        bool(address & 2),
        poll,
        data[start + has_credits : -1],
        data[start] if has_credits else 0,
    )


@dataclass(frozen=True)
class ControlMessage:
    """A multiplexer command or response, the information of a UIH frame on DLCI 0 (TS 07.10 5.4.6)."""

    kind: int
    command: bool
    value: bytes

    def encode(self) -> bytes:
        """The message as the information of its frame."""
        return bytes([self.kind << 2 | self.command << 1 | 1, len(self.value) << 1 | 1]) + self.value


def parse_control(information: bytes) -> ControlMessage:
    """Read a multiplexer message; `ProtocolError` if it is not exactly one."""
    if len(information) < 2 or not information[1] & 1 or len(information) != 2 + (information[1] >> 1):
        raise ProtocolError("malformed RFCOMM control message")
    return ControlMessage(information[0] >> 2, bool(information[0] & 2), information[2:])


@dataclass(frozen=True)
class Parameters:
    """Parameter negotiation of a data channel (TS 07.10 5.4.6.3.1, RFCOMM 5.5.3)."""

    dlci: int
    flow: int
    frame_bytes: int
    credits: int

    def encode(self) -> bytes:
        """The value of a PN message."""
        return _PARAMETERS.pack(self.dlci, self.flow, 7, 0, self.frame_bytes, 0, self.credits)

    @classmethod
    def parse(cls, value: bytes) -> Parameters:
        """Read the value of a PN message; `ProtocolError` if it has a wrong length."""
        if len(value) != _PARAMETERS.size:
            raise ProtocolError("malformed RFCOMM parameter negotiation")
        dlci, flow, _, _, frame_bytes, _, credit = _PARAMETERS.unpack(value)
        return cls(dlci & 0x3F, flow & 0xF0, frame_bytes, credit & 7)
