"""A program on a pseudo-terminal of its own: what it shows can be read, and it can be answered."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Mapping, Sequence


class OnTerminal:
    """Use with `with`: the program is ended at the end."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self._terminal, theirs = pty.openpty()
        self.screen = ""
        self.process = subprocess.Popen(
            argv,
            env={**environment, "TERM": "dumb", "COLUMNS": "200"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(theirs)

    def __enter__(self) -> OnTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._terminal)

    def wait_for(self, pattern: str, timeout_s: float = 30) -> re.Match[str]:
        """Reads until the pattern is on the screen."""
        deadline = time.monotonic() + timeout_s
        while not (found := re.search(pattern, self.screen)):
            assert time.monotonic() < deadline, self.screen
            assert self._read(0.1), self.screen
        return found

    def answer(self, text: str) -> None:
        os.write(self._terminal, text.encode() + b"\n")

    def press(self, key: str) -> None:
        """Type a key without Enter."""
        os.write(self._terminal, key.encode())

    def wait(self) -> int:
        """Reads to the end and returns the exit code."""
        deadline = time.monotonic() + 60
        while self._read(1):
            assert time.monotonic() < deadline, self.screen
        return self.process.wait(30)

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self._terminal], [], [], timeout_s)[0]:
            return self.process.poll() is None
        try:
            data = os.read(self._terminal, 4096)
        except OSError:  # EIO: the last program on this terminal has gone
            return False
        self.screen += data.decode(errors="replace").replace("\r", "")
        return bool(data)


def _take_terminal() -> None:
    """In the child: make standard input the controlling terminal (a session leader opens it without O_NOCTTY)."""
    os.close(os.open(os.ttyname(0), os.O_RDWR))
