"""From received bytes to command lines: the phone's side of V.250 5.2. No I/O, bounded, any chunking."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_LINE_CHARACTERS = 4096
"""Most characters of a command line, `AT` and the terminator included, that this implementation takes."""

CARRIAGE_RETURN = 13
LINE_FEED = 10
BACKSPACE = 8

_PRINTABLE_RUN = re.compile(rb"[ -~]+")


@dataclass(frozen=True)
class Step:
    """What one pull from the decoder gave.

    Attributes:
        received: the bytes taken from the input, for the echo.
        body: the command line without `AT` and terminator, or None if none was completed or it is bad.
        problem: why the line is bad (it is to be answered with ERROR), else None.
    """

    received: bytes
    body: str | None = None
    problem: str | None = None


class CommandLineDecoder:
    """Finds command lines in a byte stream (V.250 5.2.1 … 5.2.4).

    Bytes before `AT` are skipped, backspace (S5) edits, `A/` repeats the last line, control characters are
    ignored. A line that is too long or holds bytes above 0x7E is dropped whole and reported as bad.
    """

    def __init__(self, max_line: int = MAX_LINE_CHARACTERS) -> None:
        self.terminator = CARRIAGE_RETURN
        self.backspace = BACKSPACE
        self._max_body = max_line - 3
        self._input = bytearray()
        self._prefix = b""
        self._body = bytearray()
        self._in_body = False
        self._problem: str | None = None
        self._last_body = ""

    def feed(self, data: bytes) -> None:
        """Append received bytes."""
        self._input += data

    def next(self) -> Step | None:
        """Take bytes up to the end of the next line, or all there are; None if there are none."""
        if not self._input:
            return None
        position = 0
        while position < len(self._input):
            if self._in_body:
                position, finished = self._in_line(position)
            else:
                finished = self._before_line(self._input[position])
                position += 1
            if finished is not None:
                return Step(self._take(position), finished.body, finished.problem)
        return Step(self._take(position))

    def _take(self, count: int) -> bytes:
        received = bytes(self._input[:count])
        del self._input[:count]
        return received

    def _before_line(self, byte: int) -> Step | None:
        char = bytes((byte,))
        if self._prefix and char == b"/":
            self._prefix = b""
            return Step(b"", self._last_body)
        if (self._prefix, char) in ((b"A", b"T"), (b"a", b"t")):
            self._prefix = b""
            self._in_body = True
        else:
            self._prefix = char if char in (b"A", b"a") else b""
        return None

    def _in_line(self, position: int) -> tuple[int, Step | None]:
        byte = self._input[position]
        if byte == self.terminator:
            return position + 1, self._finish()
        if byte == self.backspace:
            del self._body[-1:]
            return position + 1, None
        run = self._run_end(position)
        if run == position:
            # V.250 5.2.2: control characters are ignored; bytes with the eighth bit are never legal here.
            if byte > 0x7E:
                self._problem = "a command line holds a byte that is not ASCII"
            return position + 1, None
        if self._problem is None:
            self._body += self._input[position:run]
        if len(self._body) > self._max_body:
            self._body.clear()
            self._problem = "a command line is too long"
        return run, None

    def _run_end(self, position: int) -> int:
        match = _PRINTABLE_RUN.match(self._input, position)
        end = match.end() if match else position
        # S3 and S5 may be set to printable characters (V.250 6.2.1, 6.2.3).
        for special in (self.terminator, self.backspace):
            found = self._input.find(special, position, end)
            end = found if found >= 0 else end
        return end

    def _finish(self) -> Step:
        body, problem = self._body.decode("ascii"), self._problem
        self._body.clear()
        self._in_body = False
        self._problem = None
        if problem is not None:
            return Step(b"", None, problem)
        self._last_body = body
        return Step(b"", body)
