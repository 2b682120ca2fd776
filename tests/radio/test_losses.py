"""Every way a link ends, as each side sees it, and that the next connection works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from support.radio import PC_ADDRESS, PHONE_ADDRESS
from support.radio_world import PATIENCE_S, ROOT, World, echoed

from phone_link.errors import LinkClosed, LinkError, LinkTimeout, PhoneAbsent
from phone_link.transport.base import Stream

pytestmark = pytest.mark.radio


def assert_over(stream: Stream) -> None:
    """Reading ends, and then everything else does, for good."""
    for _ in range(2):
        with pytest.raises(LinkClosed):
            stream.read(PATIENCE_S)
    with pytest.raises(LinkClosed):
        stream.write(b"AT\r")
    stream.close()


def test_phone_closes_the_stream(world: World) -> None:
    phone, stream = world.paired()
    phone.tell("close")
    assert_over(stream)
    phone.expect("closed LinkClosed")
    assert echoed(world.connect()) == b"AT\r"


def test_phone_closes_only_the_rfcomm_channel(world: World) -> None:
    phone, stream = world.paired()
    phone.tell("dlc")
    assert_over(stream)
    phone.expect("closed LinkClosed")
    assert echoed(world.connect()) == b"AT\r"


def test_computer_closes(world: World) -> None:
    phone, stream = world.paired()
    stream.close()
    phone.expect("closed LinkClosed")
    with pytest.raises(LinkClosed):
        stream.read(0)
    assert echoed(world.connect()) == b"AT\r"


def test_phone_switches_bluetooth_off(world: World) -> None:
    phone, stream = world.paired()
    world.radio.command(f"close {PHONE_ADDRESS}")
    assert_over(stream)
    phone.expect("closed LinkClosed")
    assert echoed(world.connect()) == b"AT\r"


def test_computer_switches_bluetooth_off(world: World) -> None:
    phone, stream = world.paired()
    world.radio.command(f"close {PC_ADDRESS}")
    assert_over(stream)
    phone.expect("closed LinkClosed")
    assert echoed(world.connect()) == b"AT\r"


def test_phone_program_stops(world: World) -> None:
    phone, stream = world.paired()
    phone.stop()
    assert_over(stream)


def test_phone_is_killed_and_started_again(world: World) -> None:
    phone, stream = world.paired()
    world.radio.command("sup 0.5")
    phone.kill()
    assert_over(stream)
    world.start_phone()
    assert echoed(world.connect()) == b"AT\r"


def test_out_of_range_and_back_twice(world: World) -> None:
    phone, stream = world.paired()
    world.radio.command("sup 0.5")
    for _ in range(2):
        world.radio.walk_away()
        assert_over(stream)
        phone.expect("closed LinkClosed")
        with pytest.raises(PhoneAbsent):
            world.connect(timeout_s=0.8)
        world.radio.come_back()
        stream = world.connect()
        assert echoed(stream) == b"AT\r"
        phone.expect("open")


def test_phone_comes_back_while_it_is_searched(world: World) -> None:
    phone, stream = world.paired()
    stream.close()
    phone.expect("closed LinkClosed")
    world.radio.walk_away()
    back = threading.Timer(0.3, world.radio.come_back)
    back.start()
    assert echoed(world.connect()) == b"AT\r"
    back.join()


def test_writer_that_waits_for_credits_is_woken_by_the_loss(world: World) -> None:
    phone, stream = world.paired()
    world.radio.command("sup 0.5")
    world.radio.walk_away()
    with pytest.raises(LinkClosed):
        stream.write(bytes(500_000))
    phone.expect("closed LinkClosed")


def test_phone_hangs_and_nothing_is_reported(world: World) -> None:
    phone, stream = world.paired()
    phone.hang()
    stream.write(b"AT\r")
    with pytest.raises(LinkTimeout):
        stream.read(0.3)
    stream.close()


def test_close_wakes_reader_and_writer(world: World) -> None:
    phone, stream = world.paired()
    phone.hang()
    ended: list[str] = []

    def run(action: object, *arguments: object) -> None:
        assert callable(action)
        try:
            action(*arguments)
        except LinkClosed:
            ended.append("closed")

    threads = [
        threading.Thread(target=run, args=(stream.read, None)),
        threading.Thread(target=run, args=(stream.write, bytes(500_000))),
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    stream.close()
    stream.close()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert ended == ["closed", "closed"]


def test_computer_dies_and_connects_again_before_the_phone_notices(world: World) -> None:
    phone, stream = world.paired()
    stream.close()
    phone.expect("closed LinkClosed")
    program = (
        "import sys, pathlib; from phone_link.transport.open import connect;"
        "from phone_link.transport.base import TransportOptions;"
        "s = connect(sys.argv[1], 6.0, TransportOptions(pathlib.Path(sys.argv[2])));"
        "s.write(b'x'); print(s.read(5), flush=True); s.read(None)"
    )
    former = subprocess.Popen(
        [sys.executable, "-c", program, world.radio.connect_spec, str(world.pc_state)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert former.stdout is not None
        assert former.stdout.readline() == "b'x'\n"
        phone.expect("open")
    finally:
        former.send_signal(signal.SIGKILL)
        former.communicate()
    link = world.radio.status()["controllers"][PHONE_ADDRESS]["links"][PC_ADDRESS]
    assert not link["heard"]  # for 20 s the phone would believe in it
    assert echoed(world.connect()) == b"AT\r"
    assert {phone._lines.get(timeout=PATIENCE_S) for _ in range(2)} == {"closed LinkClosed", "open"}


def test_radio_dies(mortal_world: World) -> None:
    world = mortal_world
    phone, stream = world.paired()
    world.radio.end()
    assert_over(stream)
    phone.expect("closed LinkClosed")
    with pytest.raises(PhoneAbsent, match="no Bluetooth adapter"):
        world.connect()


def test_adapter_is_used_by_another_program(world: World) -> None:
    _, stream = world.paired()
    with pytest.raises(LinkError, match="used by another program"):
        world.connect()
    assert echoed(stream) == b"AT\r"


def test_no_phone_program(world: World) -> None:
    phone, stream = world.paired()
    stream.close()
    phone.stop()
    with pytest.raises(PhoneAbsent, match="does not answer"):
        world.connect(timeout_s=0.7)


@pytest.mark.slow
def test_absent_phone_is_reported_after_the_page_timeout(world: World) -> None:
    phone, stream = world.paired()
    stream.close()
    phone.stop()
    began = time.monotonic()
    with pytest.raises(PhoneAbsent, match="does not answer"):
        world.connect()
    assert time.monotonic() - began < 6
