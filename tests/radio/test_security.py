"""Bonds: made only on request, needed for everything, checked on both sides."""

from __future__ import annotations

import json
import stat
import time

import pytest
from support.radio import PC_ADDRESS, PHONE_ADDRESS
from support.radio_world import World, echoed

from phone_link.errors import ChannelError, LinkError, PairingRefused, UnknownPeer
from phone_link.transport.bumble import open_adapter
from phone_link.transport.classic import hci
from phone_link.transport.classic.acl import AclLink
from phone_link.transport.classic.adapter import Adapter
from phone_link.transport.classic.connect import find_channel
from phone_link.transport.classic.l2cap import L2cap
from phone_link.transport.classic.rfcomm import DataChannel, ServiceRefusedError

pytestmark = pytest.mark.radio


def test_a_bond_outlives_both_programs(world: World) -> None:
    phone, stream = world.paired()
    stream.close()
    phone.stop()
    bonds = world.phone_keys.read_bytes()
    for keys in (world.phone_keys, world.pc_keys):
        assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    world.start_phone()
    assert echoed(world.connect()) == b"AT\r"
    assert world.phone_keys.read_bytes() == bonds


def test_both_sides_keep_the_same_key_of_an_authenticated_type(world: World) -> None:
    world.paired()
    ours = json.loads(world.pc_keys.read_text())["peers"][PHONE_ADDRESS]
    theirs = json.loads(world.phone_keys.read_text())["peers"][PC_ADDRESS]
    assert ours["key"] == theirs["key"]
    assert ours["type"] == theirs["type"] == 5


def test_no_bond_and_no_pairing(world: World) -> None:
    world.start_phone(pairing=True)
    with pytest.raises(UnknownPeer, match="not paired"):
        world.connect()
    assert not world.pc_keys.exists()
    assert not world.phone_keys.exists()


def test_phone_does_not_pair(world: World) -> None:
    world.start_phone(pairing=False)
    with pytest.raises(PairingRefused):
        world.connect(pairing=True)
    assert not world.pc_keys.exists()


def test_phone_forgot_the_computer(world: World) -> None:
    phone, stream = world.paired()
    stream.close()
    phone.stop()
    world.phone_keys.unlink()
    again = world.start_phone(pairing=True)
    with pytest.raises(UnknownPeer, match="does not know this computer"):
        world.connect()
    assert echoed(world.connect(pairing=True)) == b"AT\r"
    again.stop()


def test_phone_has_another_key(world: World) -> None:
    phone, stream = world.paired()
    stream.close()
    phone.stop()
    world.phone_keys.write_text(
        json.dumps({"version": 1, "peers": {PC_ADDRESS: {"key": "00" * 16, "type": 5, "channel": None}}})
    )
    world.start_phone(pairing=True)
    with pytest.raises(ChannelError, match="link key"):
        world.connect()
    assert echoed(world.connect(pairing=True)) == b"AT\r"


def test_damaged_bonds_are_said_and_kept(world: World) -> None:
    _, stream = world.paired()
    stream.close()
    world.pc_keys.write_bytes(b"{}")
    with pytest.raises(LinkError, match="is damaged"):
        world.connect()
    assert world.pc_keys.read_bytes() == b"{}"


def test_the_service_is_closed_without_encryption(world: World) -> None:
    _, stream = world.paired()
    stream.close()
    deadline = time.monotonic() + 5
    adapter = Adapter(open_adapter(f"unix:{world.radio.pc_socket}", 5))
    try:
        adapter.power_on(deadline)
        link = AclLink(adapter, hci.parse_address(PHONE_ADDRESS))
        l2cap = L2cap(link)
        link.connect(deadline)
        number = find_channel(l2cap, deadline)
        with pytest.raises(ServiceRefusedError):
            DataChannel(l2cap).open(number, deadline)
    finally:
        adapter.close()


def test_a_channel_that_has_moved_is_found_again(world: World) -> None:
    _, stream = world.paired()
    assert echoed(stream) == b"AT\r"
    stream.close()
    bonds = json.loads(world.pc_keys.read_text())
    known = bonds["peers"][PHONE_ADDRESS]["channel"]
    bonds["peers"][PHONE_ADDRESS]["channel"] = known + 5
    world.pc_keys.write_text(json.dumps(bonds))
    assert echoed(world.connect()) == b"AT\r"
    assert json.loads(world.pc_keys.read_text())["peers"][PHONE_ADDRESS]["channel"] == known


def test_a_channel_that_stays_silent_is_looked_up_next_time(world: World) -> None:
    _, stream = world.paired()
    stream.close()
    assert json.loads(world.pc_keys.read_text())["peers"][PHONE_ADDRESS]["channel"] is None
    assert echoed(world.connect()) == b"AT\r"
