"""Command lines and value lists: strict parsing and canonical formatting (ITU-T V.250, clause 5). No I/O.

Values have one grammar in a command line and in an information line, so both directions are served here.
 Spaces outside values and quotes are ignored (V.250 5.4.1).
"""

from __future__ import annotations

import re

from phone_link.at.types import Argument, Command, Form, Syntax, syntax_of
from phone_link.errors import ProtocolError

MAX_COMMANDS = 16
MAX_ARGUMENTS = 128

_BASIC = re.compile(r" *(&? *[A-Za-z]) *([0-9]*)")
_PARAMETER = re.compile(r" *[Ss]([0-9]{1,3}) *(?:(\?)|= *([0-9]{1,18}))")
_EXTENDED = re.compile(r" *([+*][A-Za-z][A-Za-z0-9!%./:_-]{0,15}) *(=\?|=|\?|)")
_VALUE = re.compile(r' *(@[0-9]*|[0-9A-F]*)(?: *(:) *)?(?:"([^"]*)")? *')
_ESCAPED = re.compile(r"\\([0-9A-F]{2})")
_ESCAPE_SYNTAX = re.compile(r"(?:[^\\]|\\[0-9A-F]{2})*\Z")
_PRINTABLE = re.compile(r"[ -~]*\Z")


def parse_command_line(body: str) -> tuple[Command, ...]:
    """Parse a command line without its `AT` and its terminator.

    Args:
        body: printable IA5 characters. Empty (or blank) gives one bare command.

    Raises:
        ProtocolError: the grammar or a bound is violated; nothing is guessed.
    """
    _require_printable(body)
    if not body.strip(" "):
        return (Command(""),)
    commands: list[Command] = []
    position = 0
    while position < len(body):
        command, position = _parse_command(body, position)
        commands.append(command)
        if len(commands) > MAX_COMMANDS:
            raise ProtocolError("too many commands in one line")
    return tuple(commands)


def _parse_command(body: str, position: int) -> tuple[Command, int]:
    first = body[position:].lstrip(" ")[:1]
    if first in ("+", "*"):
        command, position = _parse_extended(body, position)
        return command, _after_extended(body, position)
    if first in ("S", "s"):
        command, position = _parse_parameter(body, position)
    else:
        command, position = _parse_basic(body, position)
    return command, _skip_spaces(body, position)


def _parse_basic(body: str, position: int) -> tuple[Command, int]:
    match = _BASIC.match(body, position)
    if match is None:
        raise ProtocolError("an AT command was expected")
    name = match[1].replace(" ", "").upper()
    if syntax_of(name) is not Syntax.BASIC:
        raise ProtocolError(f"the basic command {name} is not supported")
    return Command(name, Form.EXECUTE, (Argument(match[2]),) if match[2] else ()), match.end()


def _parse_parameter(body: str, position: int) -> tuple[Command, int]:
    match = _PARAMETER.match(body, position)
    if match is None:
        raise ProtocolError("an S-parameter was expected")
    if match[2]:
        return Command(f"S{match[1]}", Form.READ), match.end()
    return Command(f"S{match[1]}", Form.SET, (Argument(match[3]),)), match.end()


def _parse_extended(body: str, position: int) -> tuple[Command, int]:
    match = _EXTENDED.match(body, position)
    if match is None:
        raise ProtocolError("an extended AT command was expected")
    name, form = match[1].upper(), Form(match[2])
    if form is not Form.SET:
        return Command(name, form), match.end()
    arguments, end = _parse_arguments(body, match.end())
    return Command(name, form, arguments), end


def _after_extended(body: str, position: int) -> int:
    # V.250 5.2.1: a semicolon separates an extended command from the next one, and is not put after the last.
    position = _skip_spaces(body, position)
    if position == len(body):
        return position
    if body[position] != ";" or not body[position + 1 :].strip(" "):
        raise ProtocolError("unexpected characters after an AT command")
    return position + 1


def _skip_spaces(body: str, position: int) -> int:
    while position < len(body) and body[position] == " ":
        position += 1
    return position


def parse_values(text: str) -> tuple[Argument, ...]:
    """Parse the whole of a comma-separated list, as after `*X=` or `*X: `; empty text is one empty value."""
    _require_printable(text)
    arguments, end = _parse_arguments(text, 0)
    if end != len(text):
        raise ProtocolError("unexpected characters after a value")
    return arguments


def _parse_arguments(text: str, position: int) -> tuple[tuple[Argument, ...], int]:
    arguments: list[Argument] = []
    while True:
        argument, position = _parse_value(text, position)
        arguments.append(argument)
        if len(arguments) > MAX_ARGUMENTS:
            raise ProtocolError("too many values")
        if text[position : position + 1] != ",":
            return tuple(arguments), position
        position += 1


def _parse_value(text: str, position: int) -> tuple[Argument, int]:
    match = _VALUE.match(text, position)
    if match is None:
        raise ProtocolError("a value was expected")
    token, colon, quoted = match[1], match[2], match[3]
    # A colon joins a token and a string; neither may be missing around it, and none may touch without it.
    if (colon is None) == bool(token and quoted is not None) or (colon and (not token or quoted is None)):
        raise ProtocolError("a value is malformed")
    return Argument(token, None if quoted is None else unescape(quoted)), match.end()


def _require_printable(text: str) -> None:
    if not _PRINTABLE.match(text):
        raise ProtocolError("only printable ASCII is allowed in an AT line")


def unescape(quoted: str) -> str:
    r"""Return the text of a string constant: `\HH` is one byte, the bytes are UTF-8 (V.250 5.4.2.2)."""
    if "\\" not in quoted:
        return quoted
    if not _ESCAPE_SYNTAX.match(quoted):
        raise ProtocolError("a string holds a malformed escape")
    raw = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), quoted).encode("latin-1")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ProtocolError("a string is not UTF-8") from None


def escape(text: str) -> str:
    r"""Return the inside of a string constant; `"`, `\`, controls, non-ASCII as `\HH` of their UTF-8."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError:
        raise ProtocolError("text holds a lone surrogate") from None
    return "".join(chr(b) if 0x20 <= b < 0x7F and b not in b'"\\' else f"\\{b:02X}" for b in raw)


def quote(text: str) -> str:
    """Return a string constant with its quotes."""
    return f'"{escape(text)}"'


def format_value(argument: Argument) -> str:
    """Return a value as it stands on the line."""
    if argument.text is None:
        return argument.token
    quoted = quote(argument.text)
    return f"{argument.token}:{quoted}" if argument.token else quoted


def format_values(arguments: tuple[Argument, ...]) -> str:
    """Return a comma-separated list."""
    return ",".join(map(format_value, arguments))


def format_command(command: Command) -> str:
    """Return the canonical body of a command line with this one command (without `AT`)."""
    if command.form is Form.SET or syntax_of(command.name) is Syntax.BASIC:
        separator = "=" if command.form is Form.SET else ""
        return command.name + separator + format_values(command.arguments)
    return f"{command.name}{command.form.value}"


def format_command_line(commands: tuple[Command, ...]) -> str:
    """Return the canonical body of a line with several commands (`;` only after extended ones)."""
    parts: list[str] = []
    for index, command in enumerate(commands):
        last = index == len(commands) - 1
        extended = syntax_of(command.name) is Syntax.EXTENDED
        parts.append(format_command(command) + (";" if extended and not last else ""))
    return "".join(parts)
