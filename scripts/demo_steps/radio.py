"""A virtual Bluetooth radio: two controllers on one emulated air, driven through its control socket."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from demo_steps.report import BrokenPromise
from demo_steps.world import World

PHONE_ADDRESS = "F0:F1:F2:F3:F4:F5"
COMPUTER_ADDRESS = "F0:F1:F2:F3:F4:F6"


class Radio:
    """The radio's process; the phone's and the computer's Bluetooth adapters are sockets of it."""

    def __init__(self, world: World) -> None:
        self._control = world.radio_dir / "control"
        self.phone_hci = world.radio_dir / "phone.hci"
        self.computer_hci = world.radio_dir / "computer.hci"
        self.listen_spec = f"bumble:unix:{self.phone_hci}"
        self.connect_spec = f"bumble:unix:{self.computer_hci}/{PHONE_ADDRESS}"
        program = world.start(
            "the radio",
            *("python", "-m", "phone_link.virtual.radio"),
            *("--controller", f"{PHONE_ADDRESS}={self.phone_hci}"),
            *("--controller", f"{COMPUTER_ADDRESS}={self.computer_hci}"),
            *("--control", self._control),
        )
        program.wait_for(r"ready")

    def phone_in_range(self, here: bool) -> None:
        """Lets the phone walk away or come back."""
        self._say(f"range {PHONE_ADDRESS} {'on' if here else 'off'}")

    def sniff(self, slots: int) -> None:
        """Sniff mode with an interval in slots of 0.625 ms; 0 for active mode."""
        self._say(f"sniff {PHONE_ADDRESS} {slots}")

    def drop_links(self, address: str) -> None:
        """A device drops all its links, as when its Bluetooth is switched off."""
        self._say(f"close {address}")

    def link(self) -> dict[str, bool]:
        """How the two adapters are connected: authenticated, encrypted, heard; empty if they are not."""
        status = json.loads(self._ask("status"))
        links: dict[str, dict[str, bool]] = status["controllers"][COMPUTER_ADDRESS]["links"]
        return links.get(PHONE_ADDRESS, {})

    def _say(self, line: str) -> None:
        answer = self._ask(line)
        if answer != "ok":
            raise BrokenPromise(f"the radio obeys `{line}` – but: {answer}")

    def _ask(self, line: str) -> str:
        return _exchange(self._control, line)


def _exchange(path: Path, line: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(line.encode() + b"\n")
        with connection.makefile() as answers:
            return answers.readline().strip()
