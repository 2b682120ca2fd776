"""One ACL link: paging, disconnection, flow control towards the controller, reassembly."""

from __future__ import annotations

import contextlib
import struct
import time
from collections import deque
from collections.abc import Callable

from phone_link.errors import LinkClosed, LinkError, PhoneAbsent, ProtocolError
from phone_link.transport.classic import hci
from phone_link.transport.classic.adapter import Adapter

PAGE_TIMEOUT_S = 5.12
"""What a controller does by itself (Vol 4 Part E 6.6)."""
ANSWER_MARGIN_S = 0.4
_REASONS = {
    hci.CONNECTION_TIMEOUT: "the phone is out of range",
    hci.REMOTE_USER_TERMINATED: "the phone closed the connection",
    hci.TERMINATED_BY_LOCAL_HOST: "the connection was closed",
}
_ABSENT = (hci.PAGE_TIMEOUT, hci.CONNECTION_ACCEPT_TIMEOUT, hci.CONNECTION_TIMEOUT)


class AclLink:
    """The link to one peer. Everything but `connect` and `disconnect` runs with the adapter's lock held.

    Attributes:
        closed: Why the link is over, None while it is up.
        on_pdu: Takes each L2CAP PDU as (channel identifier, payload).
    """

    def __init__(self, adapter: Adapter, peer: bytes) -> None:
        self.adapter = adapter
        self.peer = peer
        self.handle = 0
        self.closed: str | None = None
        self.on_pdu: Callable[[int, bytes], None] | None = None
        self._connect_status: int | None = None
        self._free_slots = adapter.acl_slots
        self._in_flight = 0
        self._outgoing: deque[bytes] = deque()
        self._incoming = bytearray()
        adapter.on_acl = self._on_acl
        adapter.handle(hci.CONNECTION_COMPLETE, self._on_connection_complete)
        adapter.handle(hci.CONNECTION_REQUEST, self._on_connection_request)
        adapter.handle(hci.DISCONNECTION_COMPLETE, self._on_disconnection_complete)
        adapter.handle(hci.NUMBER_OF_COMPLETED_PACKETS, self._on_completed_packets)

    def connect(self, deadline: float) -> None:
        """Page the peer.

        Raises:
            PhoneAbsent: It does not answer.
            LinkError: It refuses.
        """
        adapter = self.adapter
        page_s = deadline - time.monotonic() - ANSWER_MARGIN_S
        if page_s < PAGE_TIMEOUT_S:
            slots = max(1, int(page_s / hci.SLOT_S))
            adapter.command(hci.WRITE_PAGE_TIMEOUT, struct.pack("<H", slots), deadline)
        # The last: a role switch is allowed. Linux, as the one that is called, insists on being central.
        parameters = self.peer + struct.pack("<HBBHB", hci.ACL_PACKET_TYPES, 1, 0, 0, 1)
        adapter.command(hci.CREATE_CONNECTION, parameters, deadline)
        with adapter.changed:
            late = "the Bluetooth adapter does not end its search for the phone"
            adapter.wait(lambda: self._connect_status is not None, deadline, late)
            status = self._connect_status
        if status in _ABSENT:
            raise PhoneAbsent(f"the phone {hci.format_address(self.peer)} does not answer")
        if status != hci.SUCCESS:
            raise LinkError(f"the phone refused the connection (Bluetooth error 0x{status:02X})")

    def wait(self, condition: Callable[[], bool], deadline: float | None, late: str) -> None:
        """As `Adapter.wait`, and `LinkClosed` when the link is over."""
        self.adapter.wait(lambda: self.closed is not None or condition(), deadline, late)
        if self.closed is not None:
            raise LinkClosed(self.closed)

    def disconnect(self, deadline: float) -> None:
        """Drop the link, politely if there is time; `closed` is set afterwards."""
        with self.adapter.changed, contextlib.suppress(LinkError):
            if self.handle and self.closed is None and self.adapter.lost is None:
                parameters = struct.pack("<HB", self.handle, hci.REMOTE_USER_TERMINATED)
                self.adapter.post(hci.DISCONNECT, parameters)
                self.adapter.wait(lambda: self.closed is not None, deadline, "")
        with self.adapter.changed:
            self.end(_REASONS[hci.TERMINATED_BY_LOCAL_HOST])

    def end(self, reason: str) -> None:
        """The link is over; what waits to be sent is dropped."""
        if self.closed is None:
            self.closed = reason
        self._outgoing.clear()
        self.adapter.changed.notify_all()

    @property
    def drained(self) -> bool:
        """Whether the controller has taken everything."""
        return not self._outgoing

    def send(self, channel: int, payload: bytes) -> None:
        """Queue one L2CAP PDU (Vol 3 Part A 3.1); sent as the controller has room."""
        if self.closed is not None:
            return
        pdu = struct.pack("<HH", len(payload), channel) + payload
        size = self.adapter.acl_bytes
        for offset in range(0, len(pdu), size):
            boundary = hci.ACL_CONTINUATION if offset else hci.ACL_START
            self._outgoing.append(hci.acl(self.handle, boundary, pdu[offset : offset + size]))
        self._pump()

    def _pump(self) -> None:
        while self._outgoing and self._free_slots > 0:
            self._free_slots -= 1
            self._in_flight += 1
            self.adapter.send(self._outgoing.popleft())

    def _on_connection_complete(self, parameters: bytes) -> None:
        status, handle, address, _, _ = struct.unpack("<BH6sBB", parameters)
        if address == self.peer:
            self._connect_status = status
            self.handle = handle if status == hci.SUCCESS else 0

    def _on_connection_request(self, parameters: bytes) -> None:
        self.adapter.post(hci.REJECT_CONNECTION_REQUEST, parameters[:6] + bytes([hci.UNACCEPTABLE_BD_ADDR]))

    def _on_disconnection_complete(self, parameters: bytes) -> None:
        status, handle, reason = struct.unpack("<BHB", parameters)
        if status == hci.SUCCESS and handle == self.handle:
            self.end(_REASONS.get(reason, f"the connection was lost (Bluetooth error 0x{reason:02X})"))

    def _on_completed_packets(self, parameters: bytes) -> None:
        for index in range(parameters[0]):
            handle, count = struct.unpack_from("<HH", parameters, 1 + 4 * index)
            if handle == self.handle:
                count = min(count, self._in_flight)
                self._in_flight -= count
                self._free_slots += count
        self._pump()

    def _on_acl(self, handle_and_flags: int, data: bytes) -> None:
        if handle_and_flags & 0x0FFF != self.handle or self.closed is not None:
            return
        if handle_and_flags >> 12 & 3 == hci.ACL_CONTINUATION:
            self._incoming += data
        else:
            self._incoming = bytearray(data)
        if len(self._incoming) < 4:
            return
        length, channel = struct.unpack_from("<HH", self._incoming)
        if len(self._incoming) > length + 4:
            raise ProtocolError("more data than announced on the Bluetooth link")
        if len(self._incoming) == length + 4:
            payload = bytes(self._incoming[4:])
            self._incoming = bytearray()
            if self.on_pdu is not None:
                self.on_pdu(channel, payload)
