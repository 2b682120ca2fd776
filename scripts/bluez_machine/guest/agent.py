"""The machine's first process: brings BlueZ up, then runs what it is told over a virtio port.

One JSON object a line in both directions; `id` names a run and comes back in all that concerns it.

    {"id": 1, "run": ["phonevault", "status"], "env": {…}}     start a program
    {"id": 1, "signal": 15}                                    send it a signal
    {"id": 2, "clock": true}                                   what time is it
    <- {"ready": "6.12.111…"}   <- {"id": 2, "clock": 12.34}
    <- {"id": 1, "clock": 12.5, "text": "…"}   <- {"id": 1, "clock": 13.0, "exit": 0, "started": 12.4}

Clocks are seconds of CLOCK_BOOTTIME. When the other end goes away, the machine is switched off.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import boot

POWER_OFF = 0x4321FEDC  # LINUX_REBOOT_CMD_POWER_OFF of reboot(2)


def now() -> float:
    """Seconds of CLOCK_BOOTTIME."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Agent:
    """Runs programs for the host."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sending = threading.Lock()
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def say(self, message: dict[str, Any]) -> None:
        """One message to the host."""
        line = json.dumps(message).encode() + b"\n"
        with self._sending, contextlib.suppress(OSError):  # the host may be gone
            while line:
                line = line[os.write(self._port, line) :]

    def serve(self) -> None:
        """Obey until the host is gone."""
        rest = b""
        while data := os.read(self._port, 65536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self.obey(json.loads(line))

    def obey(self, message: dict[str, Any]) -> None:
        """Execute one message."""
        match message:
            case {"id": int(number), "clock": True}:
                self.say({"id": number, "clock": now()})
            case {"id": int(number), "run": list(argv), "env": dict(environment)}:
                threading.Thread(
                    target=self.run, name=f"run {number}", args=(number, argv, environment), daemon=True
                ).start()
            case {"id": int(number), "signal": int(which)}:
                if (child := self._running.get(number)) is not None:
                    child.send_signal(which)

    def run(self, number: int, argv: list[str], environment: dict[str, str]) -> None:
        """Run a program to its end and report what it prints."""
        started = now()
        try:
            child = subprocess.Popen(
                argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self.say({"id": number, "clock": now(), "text": f"{argv[0]}: {error.strerror}\n"})
            self.say({"id": number, "clock": now(), "exit": 127, "started": started})
            return
        self._running[number] = child
        pump = threading.Thread(target=self._pump, args=(number, child), daemon=True)
        pump.start()
        code = child.wait()
        ended = now()
        pump.join(0.5)  # a daemon it left may keep the pipe open
        del self._running[number]
        self.say({"id": number, "clock": ended, "exit": code, "started": started})

    def _pump(self, number: int, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        while data := os.read(child.stdout.fileno(), 65536):
            self.say({"id": number, "clock": now(), "text": data.decode(errors="replace")})


def switch_off() -> None:
    """End the machine."""
    os.sync()
    ctypes.CDLL(None).reboot(POWER_OFF)


def main() -> None:
    """Bring everything up, obey, switch off."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        agent = Agent(os.open(boot.port(boot.CONTROL_PORT), os.O_RDWR))
        boot.prepare()
        boot.start()
        agent.say({"ready": os.uname().release})
        agent.serve()
    finally:
        switch_off()


if __name__ == "__main__":
    main()
