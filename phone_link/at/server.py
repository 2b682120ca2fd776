"""The phone's end of an AT line: reads command lines, runs them, answers; sends unsolicited results."""

from __future__ import annotations

import threading
from collections.abc import Callable

from phone_link.at.command_decoder import MAX_LINE_CHARACTERS, CommandLineDecoder, Step
from phone_link.at.interpreter import Interpreter, ServerHandler, Settings
from phone_link.at.types import ERROR, CmeError, Response
from phone_link.errors import ChannelError, LinkClosed
from phone_link.stream import Stream


class AtServer:
    """Serves one stream until it closes. Commands run in the thread that calls `serve`, one at a time.

    Bytes that arrive while a command runs wait (V.250 5.6.1 lets a DCE choose; nothing is aborted here).
    """

    def __init__(
        self,
        stream: Stream,
        handler: ServerHandler,
        *,
        settings: Settings | None = None,
        max_line: int = MAX_LINE_CHARACTERS,
    ) -> None:
        self._stream = stream
        self._interpreter = Interpreter(handler, settings)
        self._decoder = CommandLineDecoder(max_line)
        # Held from the making of an answer to the end of its write: a late response (encryption) gets its
        # nonce in the order of sending, and an unsolicited result never cuts an answer in two.
        self._write_lock = threading.Lock()

    def serve(self) -> None:
        """Read and answer until the peer is gone; the stream is closed when this returns or raises.

        Raises:
            ChannelError: the handler found the peer not to be trusted. It was answered with an error.
            LinkError: other errors of the link raised by the handler.
        """
        try:
            while True:
                self._decoder.feed(self._stream.read(None))
                while (step := self._decoder.next()) is not None:
                    self._take(step)
        except LinkClosed:
            pass
        finally:
            self._stream.close()

    def _take(self, step: Step) -> None:
        if self._interpreter.settings.echo:
            self._write(lambda: step.received)
        if step.problem is not None:
            self._write(lambda: self._interpreter.render([Response((), ERROR)]))
        elif step.body is not None:
            self._run(step.body)

    def _run(self, body: str) -> None:
        try:
            results = self._interpreter.run(body)
        except ChannelError:
            self._write(lambda: self._interpreter.render([Response((), CmeError(3))]))
            raise
        self._write(lambda: self._interpreter.render(results))
        settings = self._interpreter.settings
        self._decoder.terminator, self._decoder.backspace = settings.terminator, settings.backspace

    def send_unsolicited(self, line: str | Callable[[], str]) -> None:
        """Send an unsolicited result. Thread-safe; never inside an answer.

        Args:
            line: without header and trailer; or a function that makes it, called when it is this line's turn.

        Raises:
            LinkClosed: the peer is gone.
        """
        self._write(
            lambda: self._interpreter.information(line if isinstance(line, str) else line()).encode("ascii")
        )

    def _write(self, make: Callable[[], bytes]) -> None:
        with self._write_lock:
            data = make()
            if data:
                self._stream.write(data)

    def close(self) -> None:
        """Close the stream; `serve` returns."""
        self._stream.close()
