"""From received bytes to result lines: the computer's side of V.250 5.7. No I/O, bounded, any chunking.

The phone is expected in verbose form (V1). Carriage returns and line feeds both end a line and empty lines
mean nothing, so that an echo, headers and trailers need no guessing.
"""

from __future__ import annotations

import re
from collections import deque

from phone_link.at.types import ERROR, OK, CmeError, Final
from phone_link.errors import ProtocolError

MAX_RESULT_LINE_CHARACTERS = 65536
_CME = re.compile(r"\+CME ERROR: ?([0-9]{1,5})\Z")
_LEGAL = re.compile(rb"[ -~]*\Z")
_SEPARATORS = re.compile(rb"[\r\n]")


def parse_final(line: str) -> Final | None:
    """Return the final result code a line is, None if it is none (V.250 5.7.1, TS 27.007 9.2)."""
    if line == OK.value:
        return OK
    if line == ERROR.value:
        return ERROR
    match = _CME.match(line)
    return CmeError(int(match[1])) if match else None


class ResultLineDecoder:
    """Splits received bytes into lines of printable characters.

    Raises:
        ProtocolError: from `feed`: a byte that is not printable ASCII, or a line over the bound.
    """

    def __init__(self, max_line: int = MAX_RESULT_LINE_CHARACTERS) -> None:
        self._max_line = max_line
        self._partial = bytearray()
        self._lines: deque[str] = deque()

    def feed(self, data: bytes) -> None:
        """Append received bytes."""
        pieces = _SEPARATORS.split(data)
        for piece in pieces[:-1]:
            self._append(piece)
            if self._partial:
                self._lines.append(self._partial.decode("ascii"))
                self._partial.clear()
        self._append(pieces[-1])

    def _append(self, piece: bytes) -> None:
        if not _LEGAL.match(piece):
            raise ProtocolError("the phone sent bytes that are no AT result")
        self._partial += piece
        if len(self._partial) > self._max_line:
            raise ProtocolError("the phone sent a line that is too long")

    def next(self) -> str | None:
        """Return the next complete line, None if there is none."""
        return self._lines.popleft() if self._lines else None

    @property
    def empty(self) -> bool:
        """True if nothing received is left over."""
        return not self._partial and not self._lines
