"""A tap between a host and its virtual Bluetooth adapter: passes every byte on and notes the data packets."""

from __future__ import annotations

import socket
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from phone_link.errors import ProtocolError
from phone_link.transport.classic import rfcomm_frames

_HEADERS = {1: struct.Struct("<HB"), 2: struct.Struct("<HH"), 4: struct.Struct("<BB")}
"""H4 packet types command, ACL data, event: what stands before the payload; the last field is its length."""
ACL = 2
_FIRST_DYNAMIC_CHANNEL = 0x40


@dataclass(frozen=True)
class DataPacket:
    """One ACL data packet.

    Attributes:
        seconds: Monotonic time.
        sent: By this host; else received.
        length: Bytes of L2CAP and what it carries.
        at_bytes: Bytes of the AT stream in it; 0 for RFCOMM's own frames (credits).
    """

    seconds: float
    sent: bool
    length: int
    at_bytes: int


class HciTap:
    """Listens at `path`; each host that connects is joined with the adapter at `adapter`."""

    def __init__(self, path: Path, adapter: Path) -> None:
        self._adapter = str(adapter)
        self._lock = threading.Lock()
        self._packets: list[DataPacket] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def take(self) -> list[DataPacket]:
        """What was noted since the last call."""
        with self._lock:
            taken, self._packets = self._packets, []
        return taken

    def close(self) -> None:
        """Take no more hosts."""
        self._server.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for one
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                host, _ = self._server.accept()
            except OSError:
                return
            adapter = socket.socket(socket.AF_UNIX)
            adapter.connect(self._adapter)
            for source, target, sent in ((host, adapter, True), (adapter, host, False)):
                threading.Thread(target=self._pass_on, args=(source, target, sent), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, sent: bool) -> None:
        splitter = _Splitter()
        try:
            while data := source.recv(65536):
                for kind, payload in splitter.feed(data):
                    if kind == ACL:
                        self._note(sent, payload)
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def _note(self, sent: bool, payload: bytes) -> None:
        packet = DataPacket(time.monotonic(), sent, len(payload), at_bytes(payload))
        with self._lock:
            self._packets.append(packet)


class _Splitter:
    """Cuts H4 into packets, in either direction."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        self._buffer += data
        found = []
        while self._buffer:
            header = _HEADERS[self._buffer[0]]
            start = 1 + header.size
            if len(self._buffer) < start:
                break
            end = start + header.unpack_from(self._buffer, 1)[-1]
            if len(self._buffer) < end:
                break
            found.append((self._buffer[0], bytes(self._buffer[start:end])))
            del self._buffer[:end]
        return found


def at_bytes(payload: bytes) -> int:
    """Bytes of the AT stream in an ACL packet that begins an L2CAP PDU (a heartbeat's packets all do)."""
    if len(payload) < 4:
        return 0
    length, channel = struct.unpack_from("<HH", payload)
    if channel < _FIRST_DYNAMIC_CHANNEL or length != len(payload) - 4:
        return 0
    try:
        frame = rfcomm_frames.parse(payload[4:])
    except ProtocolError:  # the service search has a channel of its own
        return 0
    return len(frame.information) if frame.kind == rfcomm_frames.UIH and frame.dlci else 0
