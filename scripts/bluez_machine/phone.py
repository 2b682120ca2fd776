"""The phone, outside: its store, its program on the virtual radio, and all the ways in which it goes away."""

from __future__ import annotations

import signal
from pathlib import Path

from demo_steps import phone as demo_phone
from demo_steps.programs import Program
from demo_steps.radio import PHONE_ADDRESS, Radio
from demo_steps.world import World

NAME = "pocket"
PROGRAM = Path(__file__).with_name("phone_program.py")


class Phone:
    """A phone that answers without asking, on the radio's first adapter."""

    def __init__(self, world: World, radio: Radio) -> None:
        self._world = world
        self._radio = radio
        self._program: Program | None = None
        demo_phone.make(world)
        self.start("--accept-pairing")

    @property
    def spec(self) -> str:
        """What the computer in the machine connects to."""
        return f"bluetooth:{PHONE_ADDRESS}"

    @property
    def screen(self) -> str:
        """What it has shown since it was started."""
        return self._running.screen

    @property
    def _running(self) -> Program:
        assert self._program is not None
        return self._program

    def start(self, *options: str) -> None:
        """Its program begins to serve."""
        self._program = self._world.start(
            "the phone",
            *("python", PROGRAM, "serve", self._world.phone_store, "--listen", self._radio.listen_spec),
            *("--pin-file", self._world.pin_file, "--approve", "auto", *options),
            quiet=True,
        )
        self._program.wait_for(r"ready: ", 60)

    def stop(self) -> None:
        """Its program ends in good order: it closes the channel and the link."""
        self._running.signal(signal.SIGTERM)
        self._running.wait(20)

    def kill(self) -> None:
        """Its program dies; its adapter is silent from now on."""
        self._running.signal(signal.SIGKILL)
        self._running.wait(20)

    def close_channel(self) -> None:
        """It closes the RFCOMM channel and keeps the link."""
        self._running.signal(signal.SIGUSR1)

    def hang(self) -> None:
        """Its program stops; the adapter still keeps the link up."""
        self._running.signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Its program goes on."""
        self._running.signal(signal.SIGCONT)

    def drop_link(self) -> None:
        """The Bluetooth link is dropped; the phone can be reached again at once."""
        self._radio.drop_links(PHONE_ADDRESS)

    def switch_bluetooth_off(self) -> None:
        """The links are dropped, and it answers no more."""
        self._radio.drop_links(PHONE_ADDRESS)
        self._radio.phone_in_range(False)

    def walk_away(self) -> None:
        """It is out of range from one moment to the next."""
        self._radio.phone_in_range(False)

    def come_back(self) -> None:
        """It is in range, with Bluetooth on."""
        self._radio.phone_in_range(True)

    def forget_bonds(self) -> None:
        """It loses all its link keys, while its program is stopped."""
        for file in self._world.phone_store.rglob("bluetooth-*.json"):
            file.unlink()
