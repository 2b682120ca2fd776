"""The two programs over `bluetooth:`, each on a machine of its own, through a mock of BlueZ."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bluez_world import PHONE, World
from support.computer import PHONE as PHONE_PROGRAM
from support.computer import Computer, wait_until
from support.needs import need_fuse
from support.terminal import OnTerminal


class BluetoothComputer(Computer):
    """A computer and a phone that reach each other by Bluetooth."""

    world: World

    @property
    def listen_spec(self) -> str:
        return "bluetooth:"

    def command(self, module: str, *arguments: object) -> list[str]:
        world = self.world
        bus = world.phone_bus if module == PHONE_PROGRAM else world.pc_bus
        return ["env", f"DBUS_SYSTEM_BUS_ADDRESS={bus}", *super().command(module, *arguments)]

    def serve_on_terminal(self) -> OnTerminal:
        argv = (
            "serve",
            self.store,
            "--listen",
            "bluetooth:",
            "--pin-file",
            self.pin_file,
            "--approve",
            "auto",
        )
        return OnTerminal(self.command(PHONE_PROGRAM, *argv), self.environment)

    def pair_on_terminal(self, spec: str = "bluetooth:", terminal: str = "dumb") -> OnTerminal:
        argv = self.command("phonevault.cli.main", "phone", "pair", spec, "--name", "pocket")
        return OnTerminal(["env", f"TERM={terminal}", *argv], self.environment)


@pytest.fixture
def computer(world: World, tmp_path: Path) -> Iterator[BluetoothComputer]:
    (tmp_path / "c").mkdir()
    computer = BluetoothComputer(tmp_path / "c")
    computer.spec, computer.world = "bluetooth:", world
    try:
        computer.make_phone()
        yield computer
    finally:
        computer.close()


@pytest.mark.mount
@pytest.mark.anyone
def test_pair_create_mount_lose_and_return(computer: BluetoothComputer, world: World) -> None:
    need_fuse()
    computer.start_phone("--approve", "auto", "--accept-pairing")
    computer.pair()  # searches, takes the one that offers phonevault
    listed = json.loads(computer.run("phone", "list", "--json").stdout)
    assert [phone["spec"] for phone in listed] == [f"bluetooth:{PHONE}"]
    assert world.pc.confirmations == world.phone.confirmations == 1
    computer.run("phone", "ping")
    computer.create()
    computer.stop_phone(signal.SIGTERM)
    computer.start_phone()
    assert not world.phone.can_be_found
    computer.mount("--grace", 1)
    (computer.place / "file").write_text("private")
    busy = computer.run("phone", "ping", code=84)
    assert "unmount" in busy.stderr

    world.air.call(world.phone.walk_away)
    lost = computer.wait_for("locked")
    assert lost["cause"] == "the phone is away"
    wait_until(lambda: "does not answer by Bluetooth" in str(computer.status()["phone_problem"]))
    with pytest.raises(OSError, match="Required key"):
        (computer.place / "file").read_text()
    world.air.call(world.phone.come_back)
    computer.wait_for("unlocked")
    assert (computer.place / "file").read_text() == "private"

    world.air.call(world.phone.devices.clear)  # the phone forgets the bond, and drops the link
    world.air.call(world.phone.drop)
    computer.wait_for("locked")
    wait_until(lambda: "has forgotten this computer" in str(computer.status()["phone_problem"]))
    world.bond()
    computer.wait_for("unlocked")

    computer.stop_phone()
    computer.wait_for("locked")
    wait_until(lambda: "offers no phonevault" in str(computer.status()["phone_problem"]))
    computer.start_phone()
    computer.wait_for("unlocked")
    computer.run("unmount", computer.place)


@pytest.mark.parametrize("terminal", ["dumb", "xterm"])
def test_people_choose_compare_twice_and_are_paired(
    computer: BluetoothComputer, world: World, terminal: str
) -> None:
    with computer.serve_on_terminal() as phone:
        phone.wait_for("ready: bluetooth:")
        assert not world.phone.can_be_found
        phone.answer("pair")
        phone.wait_for("computers find this phone for 3 minutes")
        with computer.pair_on_terminal(terminal=terminal) as screen:
            screen.wait_for(r"1 +pocket +F0:F1:F2:F3:F4:F5 +new +yes")
            screen.answer("1")
            first = screen.wait_for(r"Bluetooth pairing, the first of two.*pocket must show (\d{3} \d{3})")[1]
            phone.wait_for(f"Bluetooth pairing .*does laptop show {first}")
            screen.wait_for(r"\[y/N\]")
            screen.answer("y")
            phone.answer("y")
            second = screen.wait_for(r"the phone must show: (\d{3} \d{3})")[1]
            phone.wait_for(f"pairing code {second}")
            phone.wait_for(rf"show {second}\? \[y/N\]")
            phone.answer("y")
            screen.wait_for(r"(?s)\[y/N\].*\[y/N\]")
            screen.answer("y")
            assert screen.wait() == 0, screen.screen
        phone.answer("quit")
        assert phone.wait() == 0, phone.screen
    assert not world.phone.can_be_found


def test_no_to_the_bluetooth_digits_pairs_nothing(computer: BluetoothComputer, world: World) -> None:
    computer.start_phone("--accept-pairing")
    with computer.pair_on_terminal(f"bluetooth:{PHONE}") as screen:
        screen.wait_for(r"\[y/N\]")
        screen.answer("n")
        assert screen.wait() == 49, screen.screen
    assert json.loads(computer.run("phone", "list", "--json").stdout) == []
    assert not world.pc.devices[PHONE]["Bonded"].value
    computer.stop_phone(signal.SIGTERM)


def test_ctrl_c_stops_the_search(computer: BluetoothComputer, world: World) -> None:
    with computer.pair_on_terminal() as screen:
        screen.wait_for("searching")
        screen.answer("\x03")
        assert screen.wait() == 130, screen.screen
    assert "Traceback" not in screen.screen
    wait_until(lambda: not world.pc._searching)


def test_ctrl_c_while_digits_are_compared(computer: BluetoothComputer, world: World) -> None:
    computer.start_phone("--accept-pairing")
    with computer.pair_on_terminal(f"bluetooth:{PHONE}") as screen:
        screen.wait_for(r"\[y/N\]")
        screen.answer("\x03")
        assert screen.wait() == 130, screen.screen
    assert "Traceback" not in screen.screen
    assert "Fatal" not in screen.screen
    computer.stop_phone(signal.SIGTERM)


def test_nobody_there_to_ask(computer: BluetoothComputer, world: World) -> None:
    computer.start_phone("--accept-pairing")
    result = computer.run("phone", "pair", f"bluetooth:{PHONE}", code=5)
    assert "no terminal" in result.stderr
    computer.stop_phone(signal.SIGTERM)


@pytest.mark.parametrize(
    ("spec", "code"), [("bluetooth:12", 43), ("bluetooth:hci0", 43), ("bluetooth:00:11:22:33:44:5G", 43)]
)
def test_a_malformed_address(computer: BluetoothComputer, spec: str, code: int) -> None:
    assert "AA:BB:CC:DD:EE:FF" in computer.run("phone", "pair", spec, "--yes", code=code).stderr


def test_the_phone_says_what_is_wrong_with_its_bluetooth(computer: BluetoothComputer, world: World) -> None:
    argv = ("serve", computer.store, "--pin-file", computer.pin_file, "--listen")
    assert "without an address" in computer.run_phone(*argv, "bluetooth:00:11:22:33:44:55", code=2).stderr
    world.phone.adapter = None
    assert "no Bluetooth adapter" in computer.run_phone(*argv, "bluetooth:", code=11).stderr
    world.air.call(world.phone.stop)
    assert "Bluetooth service" in computer.run_phone(*argv, "bluetooth:", code=11).stderr
