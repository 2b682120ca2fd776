"""A virtual Bluetooth radio with a phone's and a computer's adapter, in a process of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PHONE_ADDRESS = "F0:F1:F2:F3:F4:F5"
PC_ADDRESS = "F0:F1:F2:F3:F4:F6"
START_S = 20.0


@dataclass
class Radio:
    """A running radio.

    Attributes:
        phone_socket: HCI of the phone's adapter.
        pc_socket: HCI of the computer's adapter.
        control_socket: See `phone_link.virtual.control`.
    """

    process: subprocess.Popen[str]
    phone_socket: Path
    pc_socket: Path
    control_socket: Path

    @property
    def listen_spec(self) -> str:
        """What the phone listens on."""
        return f"bumble:unix:{self.phone_socket}"

    @property
    def connect_spec(self) -> str:
        """What the computer connects to."""
        return f"bumble:unix:{self.pc_socket}/{PHONE_ADDRESS}"

    def control(self, line: str) -> str:
        """Send one control command, return its answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(5)
            sock.connect(str(self.control_socket))
            sock.sendall(line.encode() + b"\n")
            return sock.makefile().readline().rstrip("\n")

    def command(self, line: str) -> None:
        """Send one control command that must succeed."""
        answer = self.control(line)
        assert answer == "ok", answer

    def end(self) -> None:
        """End the radio, if it still runs, and wait for it."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(START_S)

    def walk_away(self) -> None:
        """The phone leaves the computer's range."""
        self.command(f"range {PHONE_ADDRESS} off")

    def come_back(self) -> None:
        """The phone is in range again."""
        self.command(f"range {PHONE_ADDRESS} on")

    def status(self) -> dict[str, Any]:
        """What the radio says of its controllers and links."""
        status: dict[str, Any] = json.loads(self.control("status"))
        return status


@contextmanager
def running_radio(directory: Path, supervision_timeout_s: float = 20.0) -> Iterator[Radio]:
    """Start a radio with its sockets in a directory; end it and see that they are gone."""
    phone, pc, control = (directory / name for name in ("phone.hci", "pc.hci", "radio.ctl"))
    command = [sys.executable, "-m", "phone_link.virtual.radio", "--control", str(control)]
    command += ["--controller", f"{PHONE_ADDRESS}={phone}", "--controller", f"{PC_ADDRESS}={pc}"]
    command += ["--sup", str(supervision_timeout_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    radio = Radio(process, phone, pc, control)
    try:
        assert process.stdout.readline() == "ready\n"
        yield radio
    finally:
        radio.end()
        process.stdout.close()
    assert process.returncode == 0
    assert not any(path.exists() for path in (phone, pc, control))
