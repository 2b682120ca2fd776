"""Data over the virtual radio: whole, in order, bounded, across short absences."""

from __future__ import annotations

import random
import threading
import time

import pytest
from support.radio_world import World, echoed, read_exactly

from phone_link.errors import LinkTimeout

pytestmark = pytest.mark.radio


def test_echo_of_commands_and_of_much_data(world: World) -> None:
    phone, stream = world.paired()
    assert echoed(stream) == b"AT\r"
    data = random.Random(1).randbytes(300_000)
    writer = threading.Thread(target=stream.write, args=(data,))
    writer.start()
    assert read_exactly(stream, len(data)) == data
    writer.join()
    with pytest.raises(LinkTimeout):
        stream.read(0.01)
    assert echoed(stream) == b"AT\r"
    phone.stop()


def test_a_phone_that_does_not_read_stops_the_writer_and_loses_nothing(world: World) -> None:
    phone, stream = world.paired()
    phone.tell("deaf")
    phone.expect("deaf")  # from now on it finishes at most the read it was in
    data = random.Random(2).randbytes(200_000)
    writer = threading.Thread(target=stream.write, args=(data,))
    writer.start()
    writer.join(0.5)
    assert writer.is_alive()  # credits for 32 frames of 1,000 bytes, no more
    phone.tell("hear")
    assert read_exactly(stream, len(data)) == data
    writer.join()


def test_a_computer_that_does_not_read_stops_the_phone_and_loses_nothing(world: World) -> None:
    phone, stream = world.paired()
    phone.tell("say 200000")
    time.sleep(0.3)
    first = stream.read(1)
    assert len(first) <= 32_000
    assert read_exactly(stream, 200_000 - len(first)) == bytes(200_000 - len(first))
    assert echoed(stream) == b"AT\r"


def test_a_short_absence_delays_and_loses_nothing(world: World) -> None:
    _, stream = world.paired()
    world.radio.walk_away()
    stream.write(b"while away")
    with pytest.raises(LinkTimeout):
        stream.read(0.2)
    world.radio.come_back()
    assert read_exactly(stream, 10) == b"while away"


def test_the_link_is_authenticated_and_encrypted(world: World) -> None:
    world.paired()
    ends = world.radio.status()["controllers"].values()
    for end in ends:
        (link,) = end["links"].values()
        assert link == {"authenticated": True, "encrypted": True, "heard": True, "sniff_slots": 0}
