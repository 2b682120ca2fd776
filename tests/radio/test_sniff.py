"""Sniff mode: the link goes on, slower; and hosts that ask for it are answered."""

from __future__ import annotations

import struct
import time

import pytest
from support.radio import PC_ADDRESS, PHONE_ADDRESS, Radio
from support.radio_world import World, echoed

from phone_link.transport.bumble import open_adapter
from phone_link.transport.classic.adapter import Adapter

pytestmark = pytest.mark.radio
SLOTS = 320  # 0.2 s


def sniff_slots(world: World) -> list[int]:
    controllers = world.radio.status()["controllers"]
    return [
        link["sniff_slots"] for controller in controllers.values() for link in controller["links"].values()
    ]


def test_data_waits_for_the_anchors_and_keeps_its_order(world: World) -> None:
    _, stream = world.paired()
    assert echoed(stream) == b"AT\r"
    world.radio.command(f"sniff {PHONE_ADDRESS} {SLOTS}")
    assert sniff_slots(world) == [SLOTS, SLOTS]
    began_s = time.monotonic()
    data = bytes(range(256)) * 12  # several ACL fragments
    assert echoed(stream, data) == data
    # At least one whole interval lies between the anchor at which the question goes and that of the answer.
    assert time.monotonic() - began_s >= SLOTS * 0.625e-3
    world.radio.command(f"sniff {PC_ADDRESS} 0")
    assert sniff_slots(world) == [0, 0]
    assert echoed(stream, data) == data


def test_a_loss_in_sniff_mode_is_a_loss(world: World) -> None:
    phone, stream = world.paired()
    world.radio.command(f"sniff {PHONE_ADDRESS} {SLOTS}")
    phone.tell("close")
    with pytest.raises(Exception, match="closed"):
        while True:
            stream.read(15)
    stream.close()
    assert echoed(world.connect()) == b"AT\r"


@pytest.mark.parametrize("slots", ["1", "3", "65535", "65536", "-2", "x", "²"])
def test_control_refuses_what_is_no_interval(shared_radio: Radio, slots: str) -> None:
    assert shared_radio.control(f"sniff {PHONE_ADDRESS} {slots}").startswith("error: ")


def test_a_host_that_asks_without_a_link_or_with_nonsense_is_answered(shared_radio: Radio) -> None:
    adapter = Adapter(open_adapter(f"unix:{shared_radio.pc_socket}", 5))
    try:
        adapter.power_on(time.monotonic() + 5)
        for parameters in (
            struct.pack("<HHHHH", 0x0EFE, 800, 400, 4, 1),
            struct.pack("<HHHHH", 1, 3, 9, 4, 1),
        ):
            with pytest.raises(Exception, match="refused a command"):
                adapter.command(0x0803, parameters, time.monotonic() + 5)
        with pytest.raises(Exception, match="refused a command"):
            adapter.command(0x0804, struct.pack("<H", 0x0EFE), time.monotonic() + 5)
    finally:
        adapter.close()
