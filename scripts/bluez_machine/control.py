"""The host's end of the machine's control port: start programs in it, read them, stop them. See guest/agent.py."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo_steps.report import BrokenPromise

CLOCK_S = 10.0


@dataclass(frozen=True)
class Piece:
    """What a program printed at once, and when by the machine's clock."""

    clock_s: float
    text: str


class GuestProgram:
    """A program in the machine."""

    def __init__(self, control: Control, number: int, argv: Sequence[str]) -> None:
        self.argv = argv
        self.code: int | None = None
        self.started_s = self.ended_s = 0.0
        self.pieces: list[Piece] = []
        self._control = control
        self._number = number
        self._changed = threading.Condition()

    def take(self, message: Mapping[str, Any]) -> None:
        """A message about this program; called by the reader's thread."""
        with self._changed:
            if "exit" in message:
                self.code, self.started_s, self.ended_s = (
                    message["exit"],
                    message["started"],
                    message["clock"],
                )
            else:
                self.pieces.append(Piece(message["clock"], message["text"]))
            self._changed.notify_all()

    @property
    def output(self) -> str:
        """All it has printed so far."""
        return "".join(piece.text for piece in list(self.pieces))

    @property
    def took_s(self) -> float:
        """From start to end, by the machine's clock."""
        return self.ended_s - self.started_s

    def wait(self, timeout_s: float = 120) -> int:
        """The exit code; raises BrokenPromise if it does not end in time."""
        with self._changed:
            ended = self._changed.wait_for(lambda: self.code is not None or self._control.is_lost, timeout_s)
        if self.code is None:
            why = "the machine is gone" if ended else "it does not"
            raise BrokenPromise(
                f"`{self}` ends within {timeout_s:.0f} s – but: {why}; so far it says:\n{self.output}"
            )
        return self.code

    def must_succeed(self, timeout_s: float = 120) -> GuestProgram:
        """Waits for the end; raises BrokenPromise unless the exit code is 0."""
        return self.must_end_with(0, timeout_s)

    def must_end_with(self, code: int, timeout_s: float = 120) -> GuestProgram:
        """Waits for the end; raises BrokenPromise unless the exit code is as expected."""
        if self.wait(timeout_s) != code:
            raise BrokenPromise(f"`{self}` ends with {code} – but: {self.code}, {self.output.strip()}")
        return self

    def wait_for(self, pattern: str, timeout_s: float = 60) -> re.Match[str]:
        """The first match in what it prints; raises BrokenPromise if that does not come."""
        try:
            self.wait_until(lambda: re.search(pattern, self.output) is not None, timeout_s)
        except TimeoutError:
            raise BrokenPromise(f"`{self}` shows /{pattern}/ – but it says:\n{self.output}") from None
        found = re.search(pattern, self.output)
        assert found is not None
        return found

    def wait_until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Returns when a condition on its output holds; `TimeoutError` if that does not come."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not condition():
                left_s = deadline - time.monotonic()
                if left_s <= 0 or self.code is not None or self._control.is_lost:
                    raise TimeoutError
                self._changed.wait(min(left_s, 0.5))

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._control.send({"id": self._number, "signal": int(number)})

    def wake(self) -> None:
        """The machine is gone."""
        with self._changed:
            self._changed.notify_all()

    def __str__(self) -> str:
        return shlex.join(self.argv)


class Control:
    """Waits for the machine at a unix socket.

    Args:
        path: Where QEMU connects.
        environment: Of all programs in the machine.
    """

    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        self.is_lost = False
        self.release = ""
        self._environment = dict(environment)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._socket: socket.socket | None = None
        self._sending = threading.Lock()
        self._number = 0
        self._programs: dict[int, GuestProgram] = {}
        self._clocks: dict[int, float] = {}
        self._changed = threading.Condition()

    def accept(self, timeout_s: float) -> None:
        """QEMU connects; `TimeoutError` if it does not."""
        self._listener.settimeout(timeout_s)
        self._socket, _ = self._listener.accept()
        self._listener.close()
        threading.Thread(target=self._read, name="control port", daemon=True).start()

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Whether BlueZ is up in the machine by then."""
        with self._changed:
            return (
                self._changed.wait_for(lambda: self.release or self.is_lost, timeout_s) and not self.is_lost
            )

    def start(self, *argv: object) -> GuestProgram:
        """Starts a program in the machine."""
        words = [str(word) for word in argv]
        self._number += 1
        program = GuestProgram(self, self._number, words)
        self._programs[self._number] = program
        self.send({"id": self._number, "run": words, "env": self._environment})
        return program

    def clock(self) -> float:
        """The machine's CLOCK_BOOTTIME, as it was at some time during this call."""
        with self._changed:
            self._number += 1
            number = self._number
            self.send({"id": number, "clock": True})
            self._changed.wait_for(lambda: number in self._clocks or self.is_lost, CLOCK_S)
            if number not in self._clocks:
                raise BrokenPromise("the machine tells its clock – but: it does not answer")
            return self._clocks.pop(number)

    def send(self, message: Mapping[str, Any]) -> None:
        """One message to the machine."""
        assert self._socket is not None
        with self._sending:
            try:
                self._socket.sendall(json.dumps(message).encode() + b"\n")
            except OSError:
                raise BrokenPromise("the machine runs – but: it is gone") from None

    def close(self) -> None:
        """Go away; the machine then switches itself off."""
        self._listener.close()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # the reader's thread still holds a file of it
            self._socket.close()

    def _read(self) -> None:
        assert self._socket is not None
        try:
            with self._socket.makefile("rb") as lines:
                for line in lines:
                    self._take(json.loads(line))
        except (OSError, ValueError):
            pass  # it was switched off in the middle of a line
        with self._changed:
            self.is_lost = True
            self._changed.notify_all()
        for program in list(self._programs.values()):
            program.wake()

    def _take(self, message: Mapping[str, Any]) -> None:
        if (program := self._programs.get(message.get("id", 0))) is not None:
            program.take(message)
            return
        with self._changed:
            if "ready" in message:
                self.release = message["ready"]
            else:
                self._clocks[message["id"]] = message["clock"]
            self._changed.notify_all()
