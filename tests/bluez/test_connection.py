"""Both sides of `bluetooth:` against each other, through a mock of BlueZ on a real D-Bus daemon."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import pytest
from dbus_fast import DBusError, Variant
from support.bluez_world import PHONE, World
from support.mock_bluez import DENY_BLUEZ, bluez_error, dbus_daemon, failed

from phone_link import errors
from phone_link.errors import LinkClosed, LinkError, LinkTimeout, PhoneAbsent
from phone_link.transport.base import Findable, Listener, Stream, TransportOptions

PATIENCE_S = 15.0


def pair_of(world: World, listener: Listener) -> tuple[Stream, Stream]:
    stream = world.connect()
    return stream, listener.accept(PATIENCE_S)


def assert_over(*streams: Stream) -> None:
    """Reading ends, and stays ended."""
    for stream in streams:
        for _ in range(2):
            with pytest.raises(LinkClosed):
                stream.read(PATIENCE_S)
        stream.close()


def test_bytes_go_both_ways_and_a_close_is_seen(world: World) -> None:
    world.bond()
    listener = world.listen()
    assert listener.spec == f"bluetooth:{PHONE}"  # type: ignore[attr-defined]
    for _ in range(2):
        stream, other = pair_of(world, listener)
        stream.write(b"AT\r")
        assert other.read(PATIENCE_S) == b"AT\r"
        other.write(b"OK")
        assert stream.read(PATIENCE_S) == b"OK"
        with pytest.raises(LinkTimeout):
            stream.read(0.01)
        stream.close()
        assert_over(other)
    listener.close()
    with pytest.raises(LinkClosed):
        listener.accept(PATIENCE_S)


def test_phone_closes_and_can_be_reached_again(world: World) -> None:
    world.bond()
    listener = world.listen()
    stream, other = pair_of(world, listener)
    other.close()
    assert_over(stream)
    stream, other = pair_of(world, listener)
    stream.close()
    other.close()
    listener.close()


def test_the_listener_takes_its_connections_with_it(world: World) -> None:
    world.bond()
    listener = world.listen()
    stream, other = pair_of(world, listener)
    listener.close()
    assert_over(stream, other)
    with pytest.raises(errors.ServiceMissing):
        world.connect()


def test_out_of_range_and_back(world: World) -> None:
    world.bond()
    listener = world.listen()
    stream, other = pair_of(world, listener)
    world.air.call(world.phone.walk_away)
    assert_over(stream, other)
    with pytest.raises(PhoneAbsent):
        world.connect()
    world.air.call(world.phone.come_back)
    stream, other = pair_of(world, listener)
    stream.close()
    other.close()
    listener.close()


def test_a_lost_acl_link_ends_the_stream_even_if_the_socket_stays_silent(world: World) -> None:
    world.bond()
    listener = world.listen()
    stream, other = pair_of(world, listener)
    world.air.call(world.pc._tell_connected, PHONE, False)
    assert_over(stream)
    other.close()
    listener.close()


def test_a_computer_that_comes_back_replaces_its_old_connection(world: World) -> None:
    world.bond()
    listener = world.listen()
    stream, other = pair_of(world, listener)
    world.air.call(world.air.connections.clear)  # the computer's side has lost it, the phone's not noticed
    stream.close()
    again, _ = pair_of(world, listener)
    assert_over(other)
    again.close()
    listener.close()


def test_bluetoothd_ends(world: World) -> None:
    world.bond()
    listener = world.listen()
    stream, other = pair_of(world, listener)
    world.air.call(world.pc.stop)
    assert_over(stream)
    world.air.call(world.phone.stop)
    with pytest.raises(LinkClosed, match="Bluetooth service"):
        listener.accept(PATIENCE_S)
    other.close()
    listener.close()


def test_one_program_at_a_time_has_the_link(world: World) -> None:
    world.bond()
    listener = world.listen()
    stream, other = pair_of(world, listener)
    with pytest.raises(errors.BluetoothBusy):
        world.connect()
    stream.close()
    other.close()
    with pytest.raises(errors.BluetoothBusy):
        world.listen()
    listener.close()


def test_a_reader_that_waits_is_woken_by_close(world: World) -> None:
    world.bond()
    listener = world.listen()
    stream, other = pair_of(world, listener)
    ended: list[type[BaseException]] = []

    def read() -> None:
        try:
            stream.read(None)
        except LinkError as error:
            ended.append(type(error))

    reader = threading.Thread(target=read)
    reader.start()
    stream.close()
    reader.join(PATIENCE_S)
    assert ended == [LinkClosed]
    other.close()
    listener.close()


# Errors


def remove_adapter(world: World) -> None:
    world.pc.adapter = None


def switch_off(world: World) -> None:
    world.pc.set_adapter("Powered", Variant("b", False))


def forget_the_key(world: World) -> None:
    world.phone.devices.clear()


def forget_here(world: World) -> None:
    world.pc.devices[PHONE]["Bonded"] = Variant("b", False)


def fault(member: str, error: DBusError) -> Callable[[World], None]:
    return lambda world: world.pc.faults.__setitem__(member, error)


DENIED = DBusError("org.freedesktop.DBus.Error.AccessDenied", "Rejected send message")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (remove_adapter, errors.AdapterMissing),
        (switch_off, errors.AdapterOff),
        (forget_here, errors.BondMissing),
        (forget_the_key, errors.BondMissing),
        (lambda world: world.pc.devices.clear(), errors.BondMissing),
        (lambda world: world.phone.walk_away(), errors.PhoneAbsent),
        (lambda world: world.pc.stop(), errors.BluetoothUnavailable),
        (fault("ConnectProfile", failed("br-connection-refused")), errors.BondMissing),
        (fault("ConnectProfile", failed("br-connection-page-timeout")), errors.PhoneAbsent),
        (fault("ConnectProfile", failed("br-connection-busy")), errors.BluetoothBusy),
        (fault("ConnectProfile", failed("br-connection-adapter-not-powered")), errors.AdapterOff),
        (fault("ConnectProfile", bluez_error("InProgress", "br-connection-busy")), errors.BluetoothBusy),
        (fault("ConnectProfile", bluez_error("NotAvailable")), errors.ServiceMissing),
        (fault("ConnectProfile", failed("something new")), LinkError),
        (fault("RegisterProfile", bluez_error("NotPermitted")), errors.BluetoothBusy),
        (fault("GetManagedObjects", DENIED), errors.BluetoothDenied),
    ],
)
def test_each_trouble_has_its_error(
    world: World,
    change: Callable[[World], None],
    expected: type[LinkError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("phone_link.transport.bluez.kernel.is_supported", lambda: False)
    world.bond()
    listener = world.listen()
    world.air.call(change, world)
    with pytest.raises(LinkError) as caught:
        world.connect()
    assert type(caught.value) is expected
    assert str(caught.value)
    if expected is not LinkError:
        assert caught.value.hint
    listener.close()


def test_a_phone_that_answers_too_late_is_absent(world: World) -> None:
    world.bond()
    world.pc.faults["ConnectProfile"] = "hang"
    with pytest.raises(PhoneAbsent, match="in time"):
        world.connect(timeout_s=0.3)


def test_a_link_that_answers_nothing_is_dropped(world: World) -> None:
    """It leads nowhere, as after a restart of the phone's Bluetooth; the next attempt pages the phone anew."""
    world.bond()
    listener = world.listen()
    world.air.call(world.pc._tell_connected, PHONE, True)
    world.pc.faults["ConnectProfile"] = "hang"
    with pytest.raises(PhoneAbsent, match="in time"):
        world.connect(timeout_s=0.3)
    assert world.pc.devices[PHONE]["Connected"] == Variant("b", False)
    del world.pc.faults["ConnectProfile"]
    stream, other = pair_of(world, listener)
    stream.close()
    other.close()
    listener.close()


def test_no_bus_at_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phone_link.transport.bluez.kernel.is_supported", lambda: False)
    world.on(f"unix:path={world.directory}/nothing")
    with pytest.raises(errors.BluetoothUnavailable, match="No such file"):
        world.connect()


def test_a_bus_that_forbids_talking_to_bluez(world: World) -> None:
    with dbus_daemon(world.directory, "strict", DENY_BLUEZ) as bus:
        station = world.air.station(bus, "F0:F1:F2:F3:F4:00", "strict")
        world.on(bus)
        with pytest.raises(errors.BluetoothDenied):
            world.connect()
        world.air.call(station.stop)


def test_nobody_but_bluez_may_call_us(world: World) -> None:
    """A connection forged by another program of the machine is refused, and its descriptor not kept."""
    world.bond()
    listener = world.listen()
    owner = next(iter(world.phone._profiles))
    before = len(os.listdir("/proc/self/fd"))

    async def forge() -> str | None:
        from dbus_fast.aio import MessageBus

        stranger = await MessageBus(bus_address=world.phone_bus, negotiate_unix_fd=True).connect()
        reading, writing = os.pipe()
        genuine, world.phone._bus = world.phone._bus, stranger
        body = ["/org/bluez/hci0/dev_00", 0, {}]
        reply = await world.phone._ask(
            owner, "/phonevault/profile", "org.bluez.Profile1", "NewConnection", "oha{sv}", body, [reading]
        )
        world.phone._bus = genuine
        os.close(reading)
        os.close(writing)
        stranger.disconnect()
        await stranger.wait_for_disconnect()
        return reply.error_name

    assert world.air.run(forge()) == "org.freedesktop.DBus.Error.AccessDenied"
    with pytest.raises(LinkTimeout):
        listener.accept(0)
    listener.close()
    assert len(os.listdir("/proc/self/fd")) <= before


# Bluetooth pairing


class People:
    """What two people see and say."""

    def __init__(self, pc_says: bool = True, phone_says: bool = True) -> None:
        self.seen: dict[str, tuple[str, str]] = {}
        self._says = {"pc": pc_says, "phone": phone_says}

    def options(self, who: str) -> TransportOptions:
        def compare(code: str, name: str) -> bool:
            self.seen[who] = (code, name)
            return self._says[who]

        return TransportOptions(pairing=True, compare=compare)


def test_pairing_shows_the_same_digits_and_the_names(world: World) -> None:
    people = People()
    listener = world.listen(people.options("phone"))
    stream = world.connect(options=people.options("pc"))
    assert people.seen["pc"][0] == people.seen["phone"][0]
    assert people.seen["pc"][0].isdecimal()
    assert len(people.seen["pc"][0]) == 6
    assert (people.seen["pc"][1], people.seen["phone"][1]) == ("pocket", "laptop")
    stream.close()
    listener.close()
    listener = world.listen()
    world.connect().close()  # bonded: no question
    listener.close()


@pytest.mark.parametrize("who", ["pc", "phone"])
def test_pairing_is_refused_by_one_of_the_two(world: World, who: str) -> None:
    people = People(**{f"{who}_says": False})
    listener = world.listen(people.options("phone"))
    with pytest.raises(errors.PairingRefused):
        world.connect(options=people.options("pc"))
    with pytest.raises(errors.BondMissing):
        world.connect()
    listener.close()


def test_a_bond_the_phone_has_forgotten_is_made_anew_when_pairing(world: World) -> None:
    world.bond()
    world.air.call(world.phone.devices.clear)
    people = People()
    listener = world.listen(people.options("phone"))
    with pytest.raises(errors.BondMissing):
        world.connect()
    world.connect(options=people.options("pc")).close()
    assert "RemoveDevice" in world.pc.calls
    world.connect().close()
    listener.close()


def test_a_pairing_without_a_bond_is_none(world: World) -> None:
    people = People()
    listener = world.listen(people.options("phone"))

    async def pair(sender: str, address: str) -> None:
        return

    world.pc._pair = pair  # type: ignore[method-assign]
    with pytest.raises(errors.BondMissing, match="bond"):
        world.connect(options=people.options("pc"))
    listener.close()


def test_a_pairing_without_a_comparison_is_undone(world: World) -> None:
    people = People()
    listener = world.listen(people.options("phone"))

    async def just_works(sender: str, address: str) -> None:
        world.pc.devices[address]["Bonded"] = Variant("b", True)

    world.pc._pair = just_works  # type: ignore[method-assign]
    with pytest.raises(errors.PairingRefused, match="without a comparison"):
        world.connect(options=people.options("pc"))
    assert PHONE not in world.pc.devices
    listener.close()


def test_a_phone_that_is_not_discoverable_is_not_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phone_link.transport.bluez.pairing.SEARCH_S", 0.3)
    listener = world.listen()
    with pytest.raises(PhoneAbsent, match="found"):
        world.connect(options=People().options("pc"))
    assert world.pc.calls[-1] == "StopDiscovery"
    listener.close()


def test_the_phone_is_found_only_while_pairing_is_wanted(world: World) -> None:
    people = People()
    listener = world.listen(TransportOptions(compare=people.options("phone").compare))
    assert isinstance(listener, Findable)
    assert not world.phone.can_be_found
    assert not world.phone.can_be_paired
    listener.let_pair(60)
    assert world.phone.can_be_found
    assert world.phone.can_be_paired
    assert world.phone.adapter is not None
    assert world.phone.adapter["DiscoverableTimeout"].value == 60
    world.connect(options=people.options("pc")).close()
    listener.close()
    assert not world.phone.can_be_found
    assert not world.phone.can_be_paired
    assert world.phone.adapter["DiscoverableTimeout"].value == 180  # as it was


def test_the_window_closes_by_itself(world: World) -> None:
    listener = world.listen()
    assert isinstance(listener, Findable)
    listener.let_pair(1)
    deadline = time.monotonic() + 30
    while world.phone._default_agents or world.phone.can_be_found:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    listener.close()


def test_a_window_that_cannot_be_opened_is_closed_again(world: World) -> None:
    listener = world.listen()
    assert isinstance(listener, Findable)
    world.phone.faults["RequestDefaultAgent"] = bluez_error("DoesNotExist")
    with pytest.raises(LinkError):
        listener.let_pair(60)
    assert not world.phone._agents
    assert not world.phone.can_be_found
    world.phone.faults.clear()
    listener.let_pair(60)
    assert world.phone.can_be_found
    listener.close()
