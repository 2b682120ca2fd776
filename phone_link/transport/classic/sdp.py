"""One SDP question (Core Specification Vol 3 Part B): on which RFCOMM channel is a service? Pure, no I/O."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from phone_link.errors import ProtocolError

PSM = 0x0001
_SEARCH_ATTRIBUTE_REQUEST = 0x06
_SEARCH_ATTRIBUTE_RESPONSE = 0x07
_PROTOCOL_DESCRIPTOR_LIST = 0x0004
_BASE_UUID_TAIL = bytes.fromhex("00001000800000805f9b34fb")
_RFCOMM = bytes.fromhex("00000003") + _BASE_UUID_TAIL
_MAX_BYTES = 0x1000
_MAX_DEPTH = 8
_MAX_ANSWERS = 32

# Data element types (3.2)
_UNSIGNED, _UUID, _SEQUENCE = 1, 3, 6


@dataclass(frozen=True)
class Element:
    """A data element; sequences have children, everything else has its raw value."""

    kind: int
    value: bytes
    children: tuple[Element, ...] = ()


class ChannelQuery:
    """The exchange of requests and answers, continuation states included (4.3).

    Args:
        service_uuid: 16 bytes, big-endian.
    """

    def __init__(self, service_uuid: bytes) -> None:
        self._uuid = service_uuid
        self._transaction = 0
        self._attributes = b""

    def request(self, continuation: bytes = b"") -> bytes:
        """The SDP_ServiceSearchAttributeRequest to send (4.7.1)."""
        self._transaction += 1
        pattern = _sequence(b"\x1c" + self._uuid)
        attributes = _sequence(struct.pack(">BH", 0x09, _PROTOCOL_DESCRIPTOR_LIST))
        body = pattern + struct.pack(">H", 0xFFFF) + attributes + bytes([len(continuation)]) + continuation
        return struct.pack(">BHH", _SEARCH_ATTRIBUTE_REQUEST, self._transaction, len(body)) + body

    def answer(self, pdu: bytes) -> bytes | None:
        """Take one answer; return the continuation state to ask on with, or None if it was the last.

        Raises:
            ProtocolError: Not an answer to the request, or too many or too long ones.
        """
        if len(pdu) < 8 or pdu[0] != _SEARCH_ATTRIBUTE_RESPONSE:
            raise ProtocolError("the phone's service directory answers with an error")
        _, transaction, length, count = struct.unpack_from(">BHHH", pdu)
        continuation = pdu[7 + count + 1 :]
        if transaction != self._transaction or length != len(pdu) - 5 or 7 + count >= len(pdu):
            raise ProtocolError("malformed answer of the phone's service directory")
        if pdu[7 + count] != len(continuation) or len(continuation) > 16:
            raise ProtocolError("malformed answer of the phone's service directory")
        self._attributes += pdu[7 : 7 + count]
        if len(self._attributes) > _MAX_BYTES or self._transaction > _MAX_ANSWERS:
            raise ProtocolError("endless answer of the phone's service directory")
        return continuation or None

    def channel(self) -> int | None:
        """The RFCOMM channel of the first service found, None if the phone has no such service."""
        element, end = _parse(self._attributes, 0, 0)
        if end != len(self._attributes):
            raise ProtocolError("malformed service record")
        for record in element.children:
            pairs = zip(record.children[::2], record.children[1::2], strict=False)
            for identifier, value in pairs:
                wanted = identifier.value == struct.pack(">H", _PROTOCOL_DESCRIPTOR_LIST)
                if wanted and (channel := _rfcomm_channel(value)) is not None:
                    return channel
        return None


def _rfcomm_channel(protocols: Element) -> int | None:
    for protocol in protocols.children:
        match protocol.children:
            case [Element(kind=3, value=uuid), Element(kind=1, value=number), *_] if _full(uuid) == _RFCOMM:
                channel = int.from_bytes(number, "big")
                return channel if 1 <= channel <= 30 else None
    return None


def _full(uuid: bytes) -> bytes:
    return uuid if len(uuid) == 16 else uuid.rjust(4, b"\0") + _BASE_UUID_TAIL


def _sequence(content: bytes) -> bytes:
    return bytes([0x35, len(content)]) + content


def _parse(data: bytes, offset: int, depth: int) -> tuple[Element, int]:
    """Read the data element at an offset (3.3); return it and the offset behind it."""
    if offset >= len(data) or depth > _MAX_DEPTH:
        raise ProtocolError("malformed service record")
    kind, size_index = data[offset] >> 3, data[offset] & 7
    start = offset + 1
    if size_index < 5:
        length = 0 if kind == 0 else 1 << size_index
    else:
        width = 1 << (size_index - 5)
        if start + width > len(data):
            raise ProtocolError("malformed service record")
        length = int.from_bytes(data[start : start + width], "big")
        start += width
    end = start + length
    if end > len(data):
        raise ProtocolError("malformed service record")
    if kind != _SEQUENCE:
        return Element(kind, data[start:end]), end
    children = []
    while start < end:
        child, start = _parse(data[:end], start, depth + 1)
        children.append(child)
    return Element(kind, b"", tuple(children)), end
