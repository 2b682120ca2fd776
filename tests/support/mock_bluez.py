"""A **mock** of BlueZ: its D-Bus objects on a real D-Bus daemon, with socket pairs for radio links.

It stands for bluetoothd where there is no adapter: it answers as far as phonevault asks, in the order and with
the error names of BlueZ's sources, and hands out real descriptors. It proves nothing about the real BlueZ.

What it copies on purpose: one profile for a UUID, whoever registered it; agents and profiles end with their
connection to the bus; the mock keeps a copy of every descriptor it hands out, so that closing one ends nothing.
"""

from __future__ import annotations

import asyncio
import os
import random
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dbus_fast import BusType, DBusError, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

HCI = "/org/bluez/hci0"
PATIENCE_S = 15
CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/>{more}</policy></busconfig>
"""
DENY_BLUEZ = '<deny send_destination="org.bluez"/>'


@contextmanager
def dbus_daemon(directory: Path, name: str, more: str = "") -> Iterator[str]:
    """A D-Bus daemon of our own; gives its address."""
    socket_path = directory / f"{name}.bus"
    config = directory / f"{name}.conf"
    config.write_text(CONFIG.format(socket=socket_path, more=more))
    process = subprocess.Popen(
        ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--print-address=1"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, "dbus-daemon did not start"
        os.chmod(socket_path, 0o666)
        yield address
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        assert process.stdout is not None
        process.stdout.close()


class Air:
    """The adapters that hear each other, and the event loop in which they live."""

    def __init__(self) -> None:
        self.stations: dict[str, MockBluez] = {}
        self.loop = asyncio.new_event_loop()
        self.connections: list[Connection] = []
        self._thread = threading.Thread(target=self.loop.run_forever, name="mock bluez")
        self._thread.start()

    def station(self, bus_address: str, address: str, name: str) -> MockBluez:
        """Switch on an adapter with a BlueZ on that bus."""
        station = MockBluez(self, address, name)
        self.run(station.start(bus_address))
        self.stations[address] = station
        return station

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_S)

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function in the loop's thread."""

        async def run() -> None:
            function(*arguments)

        self.run(run())

    def end(self) -> None:
        for station in self.stations.values():
            self.call(station.stop)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE_S)
        for connection in self.connections:
            connection.close()
        self.loop.close()


class Connection:
    """An RFCOMM connection: a socket pair of which the mock keeps both ends."""

    def __init__(self, client: MockBluez, server: MockBluez, channel: str) -> None:
        self.ends = dict(zip((client, server), socket.socketpair(), strict=True))
        self.owners: dict[MockBluez, str] = {}
        self.channel = channel

    @property
    def alive(self) -> bool:
        poll = select.poll()
        for end in self.ends.values():
            poll.register(end, select.POLLRDHUP)
        return not poll.poll(0)

    def hang_up(self) -> None:
        for end in self.ends.values():
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def close(self) -> None:
        for end in self.ends.values():
            end.close()


def failed(text: str) -> DBusError:
    return DBusError("org.bluez.Error.Failed", text)


def bluez_error(name: str, text: str = "") -> DBusError:
    return DBusError(f"org.bluez.Error.{name}", text)


class MockBluez:
    """The bluetoothd of one adapter.

    Attributes:
        adapter: properties of Adapter1; None for a machine without an adapter.
        devices: properties of Device1 by address.
        faults: member → what to answer instead: an error, or "hang".
        away: nobody hears this station.
        confirmations: how many comparisons agents were asked for.
    """

    def __init__(self, air: Air, address: str, name: str) -> None:
        self.air = air
        self.address = address
        self.adapter: dict[str, Variant] | None = {
            "Address": Variant("s", address),
            "Alias": Variant("s", name),
            "Powered": Variant("b", True),
            "Discoverable": Variant("b", False),
            "Pairable": Variant("b", False),
            "DiscoverableTimeout": Variant("u", 180),
            "PairableTimeout": Variant("u", 0),
            "Modalias": Variant("s", "usb:v1D6Bp0246d0542"),
        }
        self.devices: dict[str, dict[str, Variant]] = {}
        self.faults: dict[str, DBusError | str] = {}
        self.away = False
        self.confirmations = 0
        self.calls: list[str] = []
        self._bus: MessageBus | None = None
        self._agents: dict[str, str] = {}
        self._default_agents: list[str] = []
        self._profiles: dict[str, tuple[str, str, str]] = {}
        self._searching: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, bus_address: str) -> None:
        bus = MessageBus(bus_address=bus_address, bus_type=BusType.SYSTEM, negotiate_unix_fd=True)
        self._bus = await bus.connect()
        self._bus.add_message_handler(self._on_message)
        await self._ask_daemon("AddMatch", "type='signal',member='NameOwnerChanged'")
        await self._bus.request_name("org.bluez")

    def stop(self) -> None:
        """bluetoothd ends."""
        if self._bus is not None:
            self._bus.disconnect()
            self._bus = None

    # What tests do to it, through Air.call

    def set_adapter(self, name: str, value: Variant) -> None:
        assert self.adapter is not None
        self.adapter[name] = value

    def know(
        self, address: str, *, bonded: bool = False, uuids: tuple[str, ...] = (), name: str = ""
    ) -> None:
        """BlueZ knows a device."""
        self.devices.setdefault(
            address,
            {
                "Address": Variant("s", address),
                "Alias": Variant("s", name or address.replace(":", "-")),
                "Paired": Variant("b", bonded),
                "Bonded": Variant("b", bonded),
                "Connected": Variant("b", False),
                "UUIDs": Variant("as", list(uuids)),
            },
        )

    def walk_away(self) -> None:
        """Out of range, and the supervision timeout is over: links are lost on both sides."""
        self.away = True
        self.drop()

    def come_back(self) -> None:
        self.away = False

    def drop(self) -> None:
        """Lose every link of this station."""
        for connection in self._connections():
            self._disconnect(connection)

    def hang_up(self) -> None:
        """End the RFCOMM connections only; the ACL link stays."""
        for connection in self._connections():
            connection.hang_up()

    # The bus

    def _on_message(self, message: Message) -> bool:
        if message.message_type is MessageType.SIGNAL:
            if message.member == "NameOwnerChanged" and not message.body[2]:
                self._forget_client(message.body[0])
            return False
        if (
            message.message_type is not MessageType.METHOD_CALL
            or message.destination == "org.freedesktop.DBus"
        ):
            return False
        if message.interface in ("org.freedesktop.DBus.Peer", "org.freedesktop.DBus.Introspectable"):
            return False
        task = asyncio.ensure_future(self._reply(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _reply(self, message: Message) -> None:
        try:
            signature, body = await self._handle(message)
            reply = Message.new_method_return(message, signature, body)
        except DBusError as error:
            reply = Message.new_error(message, error.type, error.text)
        if self._bus is not None:
            await self._bus.send(reply)

    async def _handle(self, message: Message) -> tuple[str, list[Any]]:
        member, body, sender, path = (
            message.member or "",
            message.body,
            message.sender or "",
            message.path or "",
        )
        self.calls.append(member)
        fault = self.faults.get(member)
        if isinstance(fault, DBusError):
            raise fault
        if fault == "hang":
            await asyncio.sleep(3600)
        match member:
            case "GetManagedObjects":
                return "a{oa{sa{sv}}}", [self._objects()]
            case "Get":
                return "v", [self._properties(path)[body[1]]]
            case "Set":
                self._properties(path)[body[1]] = body[2]
            case "SetDiscoveryFilter":
                assert body[0]["Transport"].value == "bredr"
            case "StartDiscovery":
                self._need_power()
                self._searching.add(sender)
            case "StopDiscovery":
                self._searching.discard(sender)
            case "RemoveDevice":
                del self.devices[_address(body[0])]
            case "RegisterAgent":
                assert body[1] == "DisplayYesNo"
                self._agents[sender] = body[0]
            case "RequestDefaultAgent":
                self._default_agents.append(sender)
            case "UnregisterAgent":
                self._agents.pop(sender)
                self._default_agents = [agent for agent in self._default_agents if agent != sender]
            case "RegisterProfile":
                self._register(sender, *body)
            case "UnregisterProfile":
                self._drop_profile(sender)
            case "Pair":
                await self._pair(sender, _address(path))
            case "ConnectProfile":
                await self._connect(_address(path), body[0])
            case "Disconnect":
                for connection in self._connections():
                    connection.hang_up()
                self._tell_connected(_address(path), False)
            case "DisconnectProfile":
                for connection in self._connections():
                    if connection.channel == body[0]:
                        connection.hang_up()
            case _:
                raise DBusError("org.freedesktop.DBus.Error.UnknownMethod", member)
        return "", []

    def _objects(self) -> dict[str, Any]:
        objects: dict[str, Any] = {
            "/org/bluez": {"org.bluez.ProfileManager1": {}, "org.bluez.AgentManager1": {}}
        }
        if self.adapter is None:
            return objects
        objects[HCI] = {"org.bluez.Adapter1": self.adapter}
        if self._searching:
            self._inquire()
        for address, properties in self.devices.items():
            shown = dict(properties)
            other = self.air.stations.get(address)
            if self._searching and other is not None and other.can_be_found:
                shown["RSSI"] = Variant("n", -40)
            objects[_path(address)] = {"org.bluez.Device1": shown}
        return objects

    def _inquire(self) -> None:
        for other in self.air.stations.values():
            if other is not self and other.can_be_found:
                assert other.adapter is not None
                self.know(other.address, name=other.adapter["Alias"].value)
                if other.offered and not self.devices[other.address]["UUIDs"].value:
                    self.devices[other.address]["UUIDs"] = Variant("as", other.offered)

    @property
    def can_be_found(self) -> bool:
        return not self.away and self.adapter is not None and bool(self.adapter["Discoverable"].value)

    @property
    def offered(self) -> list[str]:
        return [uuid for _, uuid, role in self._profiles.values() if role == "server"]

    def _properties(self, path: str) -> dict[str, Variant]:
        if path == HCI and self.adapter is not None:
            return self.adapter
        try:
            return self.devices[_address(path)]
        except KeyError:
            raise DBusError("org.freedesktop.DBus.Error.UnknownObject", path) from None

    def _need_power(self) -> None:
        assert self.adapter is not None
        if not self.adapter["Powered"].value:
            raise bluez_error("NotReady", "Resource Not Ready")

    def _register(self, sender: str, path: str, uuid: str, options: dict[str, Variant]) -> None:
        if sender in self._profiles:
            raise bluez_error("AlreadyExists", "Already Exists")
        if any(known == uuid for _, known, _ in self._profiles.values()):
            raise bluez_error("NotPermitted", "UUID already registered")
        assert options["RequireAuthentication"].value is True
        role = options["Role"].value
        assert role == "client" or options["Channel"].value == 0
        self._profiles[sender] = (path, uuid, role)

    def _forget_client(self, name: str) -> None:
        self._searching.discard(name)
        self._agents.pop(name, None)
        self._default_agents = [agent for agent in self._default_agents if agent != name]
        self._drop_profile(name)

    def _drop_profile(self, name: str) -> None:
        if self._profiles.pop(name, None) is not None:
            for connection in self._connections():
                if connection.owners.get(self) == name:
                    connection.hang_up()

    # Pairing

    async def _pair(self, sender: str, address: str) -> None:
        self._need_power()
        mine = self.devices[address]
        if mine["Bonded"].value:
            raise bluez_error("AlreadyExists", "Already Paired")
        other = self._reach(address, bluez_error("ConnectionAttemptFailed", "Page Timeout"))
        if not other.can_be_paired or sender not in self._agents:
            raise bluez_error("AuthenticationFailed", "Authentication Failed")
        other.know(self.address, name=self.adapter["Alias"].value if self.adapter else "")
        passkey = random.randrange(10**6)
        answers = await asyncio.gather(
            self._compare(sender, address, passkey),
            other._compare(other._default_agents[-1], self.address, passkey),
        )
        if not all(answers):
            raise bluez_error("AuthenticationRejected", "Authentication Rejected")
        for side in (mine, other.devices[self.address]):
            side["Paired"] = side["Bonded"] = Variant("b", True)

    @property
    def can_be_paired(self) -> bool:
        return self.adapter is not None and self.adapter["Pairable"].value and bool(self._default_agents)

    async def _compare(self, agent: str, device: str, passkey: int) -> bool:
        self.confirmations += 1
        reply = await self._ask(
            agent,
            self._agents[agent],
            "org.bluez.Agent1",
            "RequestConfirmation",
            "ou",
            [_path(device), passkey],
        )
        return reply.message_type is not MessageType.ERROR

    def _reach(self, address: str, absent: DBusError) -> MockBluez:
        other = self.air.stations.get(address)
        if (
            self.away
            or other is None
            or other.away
            or other.adapter is None
            or not other.adapter["Powered"].value
        ):
            raise absent
        return other

    # Connections

    def _connections(self) -> list[Connection]:
        return [connection for connection in self.air.connections if self in connection.ends]

    async def _connect(self, address: str, uuid: str) -> None:
        self._need_power()
        other = self._reach(address, failed("br-connection-page-timeout"))
        if uuid not in other.offered:
            raise DBusError("org.bluez.Error.BREDR.ProfileUnavailable", "No more profiles to connect to")
        known = other.devices.get(self.address)
        if known is None or not known["Bonded"].value:
            raise failed("br-connection-refused")
        for old in self._connections():
            if old.alive and other in old.ends:
                raise failed("br-connection-busy")
        connection = Connection(self, other, uuid)
        self.air.connections.append(connection)
        for station, peer in ((other, self), (self, other)):
            await station._hand_over(connection, peer, uuid)
        self._set_connected(connection, True)

    async def _hand_over(self, connection: Connection, peer: MockBluez, uuid: str) -> None:
        owner, path = next(
            (owner, path) for owner, (path, known, _) in self._profiles.items() if known == uuid
        )
        connection.owners[self] = owner
        fd = connection.ends[self].fileno()
        reply = await self._ask(
            owner, path, "org.bluez.Profile1", "NewConnection", "oha{sv}", [_path(peer.address), 0, {}], [fd]
        )
        if reply.message_type is MessageType.ERROR:
            connection.hang_up()
            raise failed("br-connection-refused")

    def _disconnect(self, connection: Connection) -> None:
        connection.hang_up()
        self._set_connected(connection, False)

    def _set_connected(self, connection: Connection, connected: bool) -> None:
        stations = list(connection.ends)
        for station, peer in (stations, reversed(stations)):
            station._tell_connected(peer.address, connected)

    def _tell_connected(self, address: str, connected: bool) -> None:
        if address not in self.devices or self._bus is None:
            return
        self.devices[address]["Connected"] = Variant("b", connected)
        changed = ["org.bluez.Device1", {"Connected": Variant("b", connected)}, []]
        interface = "org.freedesktop.DBus.Properties"
        signal = Message.new_signal(_path(address), interface, "PropertiesChanged", "sa{sv}as", changed)
        self._bus.send(signal)

    async def _ask(
        self,
        owner: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        body: list[Any],
        descriptors: list[int] | None = None,
    ) -> Message:
        assert self._bus is not None
        message = Message(
            destination=owner,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=body,
            unix_fds=descriptors or [],
        )
        reply = await self._bus.call(message)
        assert reply is not None
        return reply

    async def _ask_daemon(self, member: str, argument: str) -> None:
        name = "org.freedesktop.DBus"
        await self._ask(name, "/org/freedesktop/DBus", name, member, "s", [argument])


def _path(address: str) -> str:
    return f"{HCI}/dev_{address.replace(':', '_')}"


def _address(path: str) -> str:
    return path.rpartition("dev_")[2].replace("_", ":")
