"""The search, without a person: who is taken, and what is said if nobody or too many are there."""

from __future__ import annotations

import pytest
from support.bluez_world import PHONE, World

from phone_link.errors import PhoneAbsent, SpecError
from phone_link.transport.base import TransportOptions
from phone_link.transport.bluez.objects import Device
from phonevault.cli import bluetooth_scan
from phonevault.cli.bluetooth_scan import _Choice, choose

SECOND = "F0:F1:F2:F3:F4:F7"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bluetooth_scan, "SEARCH_S", 1.0)
    monkeypatch.setattr(bluetooth_scan, "SETTLE_S", 0.2)
    monkeypatch.setattr(bluetooth_scan, "LOOK_EVERY_S", 0.05)


def test_the_only_phone_is_taken(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    listener = world.listen(TransportOptions(pairing=True))
    world.air.call(lambda: world.pc.know("00:11:22:33:44:55", bonded=True, name="head\x1b[2Jset"))
    assert choose(yes=True) == PHONE
    shown = capsys.readouterr().out
    assert f"pocket\t{PHONE}\tnew\tyes\n" in shown
    assert "\x1b" not in shown
    assert "head\N{REPLACEMENT CHARACTER}[2Jset\t00:11:22:33:44:55\tpaired\t?\n" in shown
    listener.close()


def test_nobody_is_there(world: World) -> None:
    listener = world.listen()  # it serves, but wants not to be found
    with pytest.raises(PhoneAbsent, match="offers phonevault"):
        choose(yes=True)
    assert not world.pc._searching
    listener.close()


def test_two_phones_are_not_guessed_between(world: World) -> None:
    listener = world.listen(TransportOptions(pairing=True))
    second = world.air.station(world.pc_bus, SECOND, "other")
    second.adapter = dict(world.phone.adapter or {})
    second._profiles = dict(world.phone._profiles)
    with pytest.raises(SpecError) as caught:
        choose(yes=True)
    assert PHONE in caught.value.hint
    assert SECOND in caught.value.hint
    listener.close()


def device(address: str, name: str = "x") -> Device:
    return Device("/" + address, address, name, False, False, False, True)


def test_a_number_stays_with_its_device() -> None:
    choice = _Choice()
    choice.update([device("A"), device("B")])
    choice.update([device("C"), device("B", "renamed")])
    assert [(row[0], row[1], row[2]) for row in choice.rows()] == [
        ("1", "x", "A"),
        ("2", "renamed", "B"),
        ("3", "x", "C"),
    ]


def test_typing() -> None:
    choice = _Choice()
    choice.update([device("A"), device("B")])
    for key in "\n", "x", "3", "\n", "0", "\r", "2", "1", "\x7f":
        assert choice.type(key) is None
    assert choice.typed == "2"
    assert choice.type("\r") == "B"
