"""Runs the programs of the demo and makes sure that none outlives it."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo_steps.report import BrokenPromise

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
MODULES = {"phonevault": "phonevault.cli.main", "phonevault-phone": "phone_link.phone.cli"}


def resolve(argv: Sequence[str]) -> list[str]:
    """The installed command beside this interpreter, or its module where the project is not installed."""
    name, *rest = argv
    if name == "python":
        return [sys.executable, *rest]
    if name not in MODULES:
        return list(argv)
    script = Path(sys.executable).with_name(name)
    return [str(script), *rest] if script.exists() else [sys.executable, "-m", MODULES[name], *rest]


@dataclass(frozen=True)
class Outcome:
    """A program that ended."""

    argv: Sequence[str]
    code: int
    output: str
    errors: str
    took_s: float

    def must_succeed(self) -> Outcome:
        """This outcome; raises BrokenPromise unless the exit code is 0."""
        if self.code != 0:
            said = (self.errors or self.output).strip() or "it said nothing"
            raise BrokenPromise(f"`{shlex.join(self.argv)}` succeeds – but: exit code {self.code}, {said}")
        return self


def run(
    argv: Sequence[str], environment: Mapping[str, str], timeout_s: float = 60, text: str = ""
) -> Outcome:
    """Runs a program to its end, with `text` on its standard input."""
    started = time.monotonic()
    try:
        done = subprocess.run(
            resolve(argv),
            env=dict(environment),
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BrokenPromise(
            f"`{shlex.join(argv)}` ends within {timeout_s:.0f} s – but: it does not"
        ) from None
    return Outcome(argv, done.returncode, done.stdout, done.stderr, time.monotonic() - started)


def _take_terminal() -> None:
    """In the child: its standard input becomes the controlling terminal of its session."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Program:
    """A program that runs beside the demo, on a terminal of its own, so that it can be read and answered."""

    def __init__(self, name: str, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._screen = ""
        self._changed = threading.Condition()
        self._terminal, theirs = pty.openpty()
        self._process = subprocess.Popen(
            resolve(argv),
            env={**environment, "TERM": "dumb", "COLUMNS": "200"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,  # Ctrl-C reaches the demo alone, which then ends everything in order
            preexec_fn=_take_terminal,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, name=f"screen of {name}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._terminal, 65536)
            except OSError as error:  # EIO: the last program on this terminal has gone
                if error.errno not in (errno.EIO, errno.EBADF):
                    raise
                data = b""
            with self._changed:
                self._screen += ESCAPES.sub("", data.decode(errors="replace"))
                self._changed.notify_all()
            if not data:
                return

    @property
    def screen(self) -> str:
        """All that the program has printed so far."""
        with self._changed:
            return self._screen

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait_for(self, pattern: str, timeout_s: float = 20) -> re.Match[str]:
        """The first match of `pattern` on the screen; raises BrokenPromise if it does not come."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while (found := re.search(pattern, self._screen)) is None:
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not (self._reader.is_alive() or self.is_running):
                    promise = f"{self.name} shows /{pattern}/ within {timeout_s:.0f} s"
                    raise BrokenPromise(f"{promise} – but its screen says:\n{self._screen}")
                self._changed.wait(min(left_s, 0.5))
        return found

    def answer(self, line: str) -> None:
        """Types a line."""
        os.write(self._terminal, line.encode() + b"\n")

    def wait(self, timeout_s: float) -> int:
        """The exit code; raises BrokenPromise if the program does not end in time."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise BrokenPromise(f"{self.name} ends within {timeout_s:.0f} s – but: it does not") from None
        self._reader.join(2)
        return code

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._process.send_signal(number)

    def stop(self) -> None:
        """Asks it to end, insists after three seconds."""
        if self.is_running:
            self._process.terminate()
            try:
                self._process.wait(3)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._reader.join(1)
