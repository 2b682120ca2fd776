"""L2CAP (Core Specification Vol 3 Part A): signalling, and connection-oriented channels in basic mode."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

from phone_link.errors import LinkClosed, LinkError, ProtocolError
from phone_link.transport.classic.acl import AclLink

SIGNALLING_CHANNEL = 1
FIRST_DYNAMIC_CHANNEL = 0x40
OWN_MTU = 1017
"""With the L2CAP header one ACL packet of 1,021 bytes."""
DEFAULT_MTU = 672

# Signalling codes (4)
_COMMAND_REJECT, _CONNECTION_REQUEST, _CONNECTION_RESPONSE = 0x01, 0x02, 0x03
_CONFIGURATION_REQUEST, _CONFIGURATION_RESPONSE = 0x04, 0x05
_DISCONNECTION_REQUEST, _DISCONNECTION_RESPONSE = 0x06, 0x07
_ECHO_REQUEST, _ECHO_RESPONSE = 0x08, 0x09
_INFORMATION_REQUEST, _INFORMATION_RESPONSE = 0x0A, 0x0B
_ANSWERS = (_COMMAND_REJECT, _ECHO_RESPONSE, _INFORMATION_RESPONSE, _DISCONNECTION_RESPONSE)

_PENDING = 1
_PSM_NOT_SUPPORTED = 2
_SECURITY_BLOCK = 3
_SECURITY_PAUSES_S = (0.02, 0.1, 0.3)
"""Linux answers so until it has learned the size of the key of a link that is encrypted already."""
_OPTION_MTU, _OPTION_MODE, _OPTION_HINT = 0x01, 0x04, 0x80
_UNACCEPTABLE, _UNKNOWN_OPTION = 1, 3


class Channel:
    """One channel. Its state is guarded by the adapter's lock.

    Attributes:
        peer_mtu: Largest payload the peer takes, in bytes.
        closed: Why the channel is over, None while it is usable.
        on_data: Takes each payload received.
    """

    def __init__(self, l2cap: L2cap, identifier: int, on_data: Callable[[bytes], None]) -> None:
        self.l2cap = l2cap
        self.own = identifier
        self.remote = 0
        self.peer_mtu = DEFAULT_MTU
        self.closed: str | None = None
        self.on_data = on_data
        self.refused: int | None = None
        self.configured_by_us = False
        self.configured_by_peer = False

    @property
    def is_open(self) -> bool:
        """Both directions are configured."""
        return self.configured_by_us and self.configured_by_peer

    def send(self, payload: bytes) -> None:
        """Send one payload of at most `peer_mtu` bytes."""
        if self.closed is None:
            self.l2cap.link.send(self.remote, payload)

    def end(self, reason: str) -> None:
        """The channel is over."""
        if self.closed is None:
            self.closed = reason


class L2cap:
    """The channels of one link; only we open them."""

    def __init__(self, link: AclLink) -> None:
        self.link = link
        self._channels: dict[int, Channel] = {}
        self._identifier = 0
        self._next_channel = FIRST_DYNAMIC_CHANNEL
        link.on_pdu = self._on_pdu

    def open(self, psm: int, on_data: Callable[[bytes], None], deadline: float) -> Channel:
        """Open a channel to a service of the peer (7.1).

        Raises:
            LinkError: The peer refuses.
            LinkTimeout: No agreement until the deadline.
            LinkClosed: The link is over.
        """
        channel = self._request(psm, on_data, deadline)
        for pause_s in _SECURITY_PAUSES_S:
            if channel.refused != _SECURITY_BLOCK:
                break
            time.sleep(pause_s)
            channel = self._request(psm, on_data, deadline)
        if channel.refused is not None:
            raise LinkError(f"the phone offers no Bluetooth service {psm} (result {channel.refused})")
        if channel.closed is not None:
            raise LinkClosed(channel.closed)
        return channel

    def _request(self, psm: int, on_data: Callable[[bytes], None], deadline: float) -> Channel:
        """Ask once; the channel is open, refused or closed."""
        with self.link.adapter.changed:
            channel = Channel(self, self._next_channel, on_data)
            self._channels[channel.own] = channel
            self._next_channel += 1
            self._signal(_CONNECTION_REQUEST, struct.pack("<HH", psm, channel.own))
            self.link.wait(
                lambda: channel.is_open or channel.closed is not None or channel.refused is not None,
                deadline,
                "the phone does not finish the Bluetooth connection",
            )
            return channel

    def close(self, channel: Channel) -> None:
        """Close a channel, without waiting for the peer's answer."""
        with self.link.adapter.changed:
            if channel.closed is None and channel.remote:
                self._signal(_DISCONNECTION_REQUEST, struct.pack("<HH", channel.remote, channel.own))
            channel.end("the channel was closed")
            self._channels.pop(channel.own, None)

    def _signal(self, code: int, data: bytes, identifier: int | None = None) -> None:
        if identifier is None:
            self._identifier = identifier = self._identifier % 255 + 1
        self.link.send(SIGNALLING_CHANNEL, struct.pack("<BBH", code, identifier, len(data)) + data)

    def _on_pdu(self, identifier: int, payload: bytes) -> None:
        if identifier != SIGNALLING_CHANNEL:
            channel = self._channels.get(identifier)
            if channel is not None and channel.closed is None:
                if len(payload) > OWN_MTU:
                    raise ProtocolError("an L2CAP payload is larger than agreed")
                channel.on_data(payload)
            return
        while payload:
            if len(payload) < 4:
                raise ProtocolError("malformed L2CAP signalling")
            code, number, length = struct.unpack_from("<BBH", payload)
            if len(payload) < 4 + length:
                raise ProtocolError("malformed L2CAP signalling")
            self._on_signal(code, number, payload[4 : 4 + length])
            payload = payload[4 + length :]

    def _on_signal(self, code: int, number: int, data: bytes) -> None:
        if code == _CONNECTION_RESPONSE:
            self._on_connection_response(data)
        elif code == _CONFIGURATION_REQUEST:
            self._on_configuration_request(number, data)
        elif code == _CONFIGURATION_RESPONSE:
            self._on_configuration_response(data)
        elif code == _DISCONNECTION_REQUEST:
            self._on_disconnection_request(number, data)
        elif code == _CONNECTION_REQUEST:
            refusal = b"\0\0" + data[2:4] + struct.pack("<HH", _PSM_NOT_SUPPORTED, 0)
            self._signal(_CONNECTION_RESPONSE, refusal, number)
        elif code == _ECHO_REQUEST:
            self._signal(_ECHO_RESPONSE, data[:44], number)
        elif code == _INFORMATION_REQUEST:
            self._signal(_INFORMATION_RESPONSE, _information(data), number)
        elif code not in _ANSWERS:
            self._signal(_COMMAND_REJECT, b"\0\0", number)

    def _on_connection_response(self, data: bytes) -> None:
        remote, own, result, _ = struct.unpack("<HHHH", data)
        channel = self._channels.get(own)
        if channel is None or result == _PENDING:
            return
        if result:
            channel.refused = result
            return
        channel.remote = remote
        options = struct.pack("<BBH", _OPTION_MTU, 2, OWN_MTU)
        self._signal(_CONFIGURATION_REQUEST, struct.pack("<HH", remote, 0) + options)

    def _on_configuration_request(self, number: int, data: bytes) -> None:
        own, flags = struct.unpack_from("<HH", data)
        channel = self._channels.get(own)
        if channel is None:
            self._signal(_COMMAND_REJECT, struct.pack("<HHH", 2, own, 0), number)
            return
        result, options = _judge_options(channel, data[4:])
        head = struct.pack("<HHH", channel.remote, flags & 1, result)
        self._signal(_CONFIGURATION_RESPONSE, head + options, number)
        if result == 0 and not flags & 1:
            channel.configured_by_peer = True

    def _on_configuration_response(self, data: bytes) -> None:
        own, flags, result = struct.unpack_from("<HHH", data)
        channel = self._channels.get(own)
        if channel is None or flags & 1 or result == 4:
            return
        if result:
            channel.end("the phone does not accept our L2CAP configuration")
        else:
            channel.configured_by_us = True

    def _on_disconnection_request(self, number: int, data: bytes) -> None:
        own, remote = struct.unpack("<HH", data)
        self._signal(_DISCONNECTION_RESPONSE, struct.pack("<HH", own, remote), number)
        if (channel := self._channels.pop(own, None)) is not None:
            channel.end("the phone closed the connection")


def _judge_options(channel: Channel, data: bytes) -> tuple[int, bytes]:
    """Return result and options of the response to a configuration request (5)."""
    while data:
        if len(data) < 2 or len(data) < 2 + data[1]:
            raise ProtocolError("malformed L2CAP configuration")
        kind, value, option = data[0], data[2 : 2 + data[1]], data[: 2 + data[1]]
        data = data[2 + len(value) :]
        if kind == _OPTION_MTU and len(value) == 2:
            channel.peer_mtu = int.from_bytes(value, "little")
            if channel.peer_mtu < 48:
                return _UNACCEPTABLE, struct.pack("<BBH", _OPTION_MTU, 2, 48)
        elif kind == _OPTION_MODE and value[:1] != b"\0":
            return _UNACCEPTABLE, struct.pack("<BB9x", _OPTION_MODE, 9)
        elif kind not in (_OPTION_MTU, _OPTION_MODE) and not kind & _OPTION_HINT:
            return _UNKNOWN_OPTION, option
    return 0, b""


def _information(data: bytes) -> bytes:
    """The answer to an information request (4.11): no extended features, no more fixed channels."""
    match data:
        case b"\2\0":
            return data + b"\0\0" + bytes(4)
        case b"\3\0":
            return data + b"\0\0" + b"\2" + bytes(7)
    return data[:2].ljust(2, b"\0") + b"\1\0"
