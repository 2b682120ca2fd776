"""The computer's end of an AT line: one command in flight, timeouts that close it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from phone_link.at.response_decoder import ResultLineDecoder, parse_final
from phone_link.at.types import Response
from phone_link.errors import LinkClosed, LinkError, LinkTimeout, ProtocolError
from phone_link.stream import Stream

MAX_RESPONSE_LINES = 1024
MAX_RESPONSE_CHARACTERS = 262_144
MAX_IDLE_LINES = 65_536

UnsolicitedHandler = Callable[[str], None]


class Commander(Protocol):
    """Anything that runs AT commands: a plain AT line or the secure channel in it."""

    def command(self, line: str, timeout_s: float) -> Response:
        """Run a command line.

        Args:
            line: the body, without `AT` and terminator: `*PINFO?`; empty for a bare AT.
            timeout_s: seconds until the final result code; after that the link is closed.

        Returns:
            The response, whatever its result code is (`cme.check` turns errors into exceptions).

        Raises:
            LinkTimeout, LinkClosed, ProtocolError, ChannelError: the link is closed and stays so.
        """

    def poll(self, timeout_s: float) -> None:
        """Wait for unsolicited results while idle and hand them out; return when the time is over.

        Raises:
            LinkClosed, ProtocolError, ChannelError: the link is closed and stays so.
        """

    def on_unsolicited(self, prefix: str, handler: UnsolicitedHandler) -> None:
        """Call `handler` with what follows `<prefix>: `; in the reading thread, it must not send commands."""

    def close(self) -> None:
        """Close the link; idempotent."""


def require_body(line: str) -> None:
    """Raise `ProtocolError` unless the line is printable ASCII (so it cannot end early on the wire)."""
    if not (line.isascii() and (line.isprintable() or not line)):
        raise ProtocolError("an AT command line must be printable ASCII")


class UnsolicitedTable:
    """Prefixes of unsolicited results and who wants them. Matches whole prefixes, never substrings."""

    def __init__(self) -> None:
        self._handlers: dict[str, UnsolicitedHandler] = {}

    def add(self, prefix: str, handler: UnsolicitedHandler) -> None:
        """Register a handler, replacing an older one for the same prefix."""
        self._handlers[prefix] = handler

    def deliver(self, line: str) -> bool:
        """Call the handler the line is for; False if there is none."""
        prefix, separator, rest = line.partition(": ")
        handler = self._handlers.get(prefix) if separator else None
        if handler is None:
            return False
        handler(rest)
        return True


class AtClient:
    """A `Commander` on a stream. Several threads may call it: they take turns."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._decoder = ResultLineDecoder()
        self._unsolicited = UnsolicitedTable()
        self._turn = threading.Lock()

    def command(self, line: str, timeout_s: float) -> Response:
        """See `Commander.command`. A phone with echo on is understood."""
        require_body(line)
        with self._turn:
            try:
                self._stream.write(f"AT{line}\r".encode("ascii"))
                return self._response(f"AT{line}", time.monotonic() + timeout_s)
            except LinkTimeout:
                self._stream.close()
                raise LinkTimeout(f"the phone did not answer within {round(timeout_s, 1):g} s") from None
            except LinkError:
                self._stream.close()
                raise

    def _response(self, echo: str, deadline: float) -> Response:
        lines: list[str] = []
        characters = 0
        while True:
            line = self._next_line(deadline)
            if self._unsolicited.deliver(line):
                continue
            if line == echo and not lines:
                continue
            final = parse_final(line)
            if final is not None:
                return Response(tuple(lines), final)
            lines.append(line)
            characters += len(line)
            if len(lines) > MAX_RESPONSE_LINES or characters > MAX_RESPONSE_CHARACTERS:
                raise ProtocolError("the phone's answer is too long")

    def _next_line(self, deadline: float) -> str:
        while (line := self._decoder.next()) is None:
            self._decoder.feed(self._stream.read(max(0.0, deadline - time.monotonic())))
        return line

    def poll(self, timeout_s: float) -> None:
        """See `Commander.poll`. Unknown unsolicited results are ignored (V.250 5.7.3)."""
        deadline = time.monotonic() + timeout_s
        with self._turn:
            try:
                for _ in range(MAX_IDLE_LINES):
                    line = self._next_line(deadline)
                    if not self._unsolicited.deliver(line) and parse_final(line) is not None:
                        raise ProtocolError("the phone answered a command that was not given")
                raise LinkClosed("the phone floods the line")
            except LinkTimeout:
                return
            except LinkError:
                self._stream.close()
                raise

    def on_unsolicited(self, prefix: str, handler: UnsolicitedHandler) -> None:
        """See `Commander.on_unsolicited`."""
        self._unsolicited.add(prefix, handler)

    def close(self) -> None:
        """Close the stream; a blocked command ends with `LinkClosed`."""
        self._stream.close()
