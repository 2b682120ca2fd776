"""What an AT line means: settings, dispatch to a handler, formatting of the answer (V.250 5.7, 6). No I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from phone_link.at import cme
from phone_link.at.codec import parse_command_line
from phone_link.at.command_decoder import BACKSPACE, CARRIAGE_RETURN, LINE_FEED
from phone_link.at.types import ERROR, OK, CmeError, Command, Final, Form, Response
from phone_link.errors import PhoneError, ProtocolError

Late = Callable[[], Response]
"""A response that must be made at the very moment it is sent (encryption in send order). It must not fail."""

ServerHandler = Callable[[Command], Response | Late]

IDENTIFICATION = "phonevault phone"
_NUMERIC = {OK: "0", ERROR: "4"}


@dataclass
class Settings:
    """The registers a computer can set (V.250 6.2, TS 27.007 9.1)."""

    echo: bool = True
    verbose: bool = True
    quiet: bool = False
    cme_errors: int = 0
    terminator: int = CARRIAGE_RETURN
    line_feed: int = LINE_FEED
    backspace: int = BACKSPACE


class Interpreter:
    """Runs command lines: basic commands itself, all others through the handler."""

    def __init__(self, handler: ServerHandler, settings: Settings | None = None) -> None:
        self._handler = handler
        self._initial = settings or Settings()
        self.settings = Settings(**vars(self._initial))

    def run(self, body: str) -> list[Response | Late]:
        """Run each command of a line until one fails (V.250 5.2.1); the last entry decides the result code.

        Errors of handlers become responses; `ChannelError` and other link errors pass through.
        """
        try:
            commands = parse_command_line(body)
        except ProtocolError:
            return [Response((), ERROR)]
        results: list[Response | Late] = []
        for command in commands:
            result = self._run_one(command)
            results.append(result)
            if isinstance(result, Response) and not result.ok:
                break
        return results

    def _run_one(self, command: Command) -> Response | Late:
        try:
            return self._settings_command(command) or self._handler(command)
        except PhoneError as error:
            return cme.error_response(error)
        except ProtocolError:
            return cme.error_response(PhoneError(cme.CKR_ARGUMENTS_BAD))

    def _settings_command(self, command: Command) -> Response | None:
        """Answer a bare AT and the commands of this module; None if it is the handler's."""
        number = command.argument(0)
        value = (
            number.integer() if not number.empty and number.text is None and number.token.isdecimal() else 0
        )
        match command.name:
            case "":
                return Response()
            case "E" | "V" | "Q":
                return self._set_flag(command.name, value)
            case "Z" | "&F":
                self.settings = Settings(**vars(self._initial))
                return Response()
            case "I":
                return Response((IDENTIFICATION,))
            case "S3" | "S4" | "S5":
                return self._s_register(command)
            case "+CMEE":
                return self._cmee(command, value)
        return None

    def _set_flag(self, name: str, value: int) -> Response:
        if value not in (0, 1):
            return Response((), ERROR)
        attribute = {"E": "echo", "V": "verbose", "Q": "quiet"}[name]
        setattr(self.settings, attribute, bool(value))
        return Response()

    def _s_register(self, command: Command) -> Response:
        attribute = {"S3": "terminator", "S4": "line_feed", "S5": "backspace"}[command.name]
        if command.form is Form.READ:
            return Response((f"{cast(int, getattr(self.settings, attribute)):03d}",))
        value = command.arguments[0].integer()
        if value > 127:
            return Response((), ERROR)
        setattr(self.settings, attribute, value)
        return Response()

    def _cmee(self, command: Command, value: int) -> Response:
        if command.form is Form.READ:
            return Response((f"+CMEE: {self.settings.cme_errors}",))
        if command.form is Form.TEST:
            return Response(("+CMEE: (0-2)",))
        if command.form is not Form.SET or len(command.arguments) != 1 or value > 2:
            return Response((), ERROR)
        self.settings.cme_errors = value
        return Response()

    def render(self, results: list[Response | Late]) -> bytes:
        """Return the bytes of a complete answer; late responses are made here, in order."""
        made = [result if isinstance(result, Response) else result() for result in results]
        lines = [line for response in made for line in response.lines]
        text = "".join(map(self.information, lines)) + self._final(made[-1].final)
        return text.encode("ascii")

    def information(self, line: str) -> str:
        """Return an information line or unsolicited result with its header and trailer (V.250 5.7.1)."""
        end = chr(self.settings.terminator) + chr(self.settings.line_feed)
        return f"{end}{line}{end}" if self.settings.verbose else f"{line}{end}"

    def _final(self, final: Final) -> str:
        settings = self.settings
        if settings.quiet:
            return ""
        if isinstance(final, CmeError):
            if settings.cme_errors:
                shown = final.code if settings.cme_errors == 1 else cme.cme_text(final.code)
                return self.information(f"+CME ERROR: {shown}")
            final = ERROR
        if settings.verbose:
            return self.information(final.value)
        return _NUMERIC[final] + chr(settings.terminator)
