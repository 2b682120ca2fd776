"""HCI H4 over a unix socket: the place where a host plugs into a virtual controller."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from bumble import core, hci
from bumble.transport.common import PacketParser

from phone_link.virtual.air import Air
from phone_link.virtual.controller import RadioController

TAKEOVER_S = 0.5
"""A newcomer waits so long for the former host to go: its end and the next start may cross."""


class HostConnection(asyncio.Protocol):
    """One host at a station: gets a fresh controller, takes it along when it leaves."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self.controller: RadioController | None = None
        self._transport: asyncio.Transport | None = None
        self._parser = PacketParser()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A host opened the socket."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.pause_reading()
        self.station.arrive(self)

    def attach(self, controller: RadioController) -> None:
        """The controller is ours from now on."""
        assert self._transport is not None
        self.controller = controller
        self._parser.set_packet_sink(controller)
        self._transport.resume_reading()

    def send(self, packet: bytes) -> None:
        """One H4 packet for the host."""
        if self._transport is not None:
            self._transport.write(packet)

    def data_received(self, data: bytes) -> None:
        """Bytes of H4 packets from the host."""
        try:
            self._parser.feed_data(data)
        except core.InvalidPacketError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The host is gone, orderly or not."""
        self._transport = None
        self.station.leave(self)

    def close(self) -> None:
        """Send the host away."""
        if self._transport is not None:
            self._transport.abort()


class Station:
    """A Bluetooth adapter with its socket. As with a real one, a single host can drive it at a time.

    Args:
        address: The adapter's BD_ADDR.
        path: Where hosts connect.
        air: The air its controllers share.
    """

    def __init__(self, address: hci.Address, path: Path, air: Air) -> None:
        self.address = address
        self.path = path
        self._air = air
        self._host: HostConnection | None = None
        self._waiting: HostConnection | None = None
        self._server: asyncio.Server | None = None

    @property
    def controller(self) -> RadioController | None:
        """The powered controller, None without a host."""
        return self._host.controller if self._host is not None else None

    async def open(self) -> None:
        """Listen; a stale socket is replaced."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: HostConnection(self), str(self.path))
        os.chmod(self.path, 0o600)

    def close(self) -> None:
        """Send the host away, stop listening, remove the socket."""
        if self._server is not None:
            self._server.close()
        for connection in (self._host, self._waiting):
            if connection is not None:
                connection.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def arrive(self, connection: HostConnection) -> None:
        """Give a new host its controller, as soon as the former one has left."""
        if self._host is None:
            self._host = connection
            connection.attach(RadioController(self.address, self._air, connection.send))
        elif self._waiting is None:
            self._waiting = connection
            asyncio.get_running_loop().call_later(TAKEOVER_S, self._refuse, connection)
        else:
            connection.close()

    def leave(self, connection: HostConnection) -> None:
        """A host is gone; its controller is switched off."""
        if connection is self._waiting:
            self._waiting = None
        elif connection is self._host:
            if connection.controller is not None:
                connection.controller.power_off()
            self._host = None
            if (successor := self._waiting) is not None:
                self._waiting = None
                self.arrive(successor)

    def _refuse(self, connection: HostConnection) -> None:
        if connection is self._waiting:
            connection.close()
