"""Commands, arguments, responses and result codes of the AT layer (ITU-T V.250, 3GPP TS 27.007 9.2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from phone_link.errors import ProtocolError

MAX_NAME_CHARACTERS = 17
"""A prefix (`+` or `*`) and 1 … 16 characters (V.250 5.4.1)."""

_BASIC_NAME = re.compile(r"&?[A-Z]\Z")
_PARAMETER_NAME = re.compile(r"S[0-9]{1,3}\Z")
_EXTENDED_NAME = re.compile(r"[+*][A-Z][A-Z0-9!%./:_-]{0,15}\Z")
_TOKEN = re.compile(r"(?:[0-9A-F]*|@[0-9]*)\Z")
_DECIMAL = re.compile(r"[0-9]{1,18}\Z")
_HEX = re.compile(r"[0-9A-F]{1,16}\Z")
_HEX_PAIRS = re.compile(r"(?:[0-9A-F]{2})*\Z")


class Form(Enum):
    """What is done with the named thing; the value is what follows the name on the wire (V.250 5.4)."""

    EXECUTE = ""
    READ = "?"
    TEST = "=?"
    SET = "="


class Syntax(Enum):
    """The three shapes of a command (V.250 5.3.1, 5.3.2, 5.4)."""

    BASIC = "basic"
    PARAMETER = "S-parameter"
    EXTENDED = "extended"


def syntax_of(name: str) -> Syntax | None:
    """Return the shape a command name belongs to, None if it is not a command name."""
    if _BASIC_NAME.match(name) and name not in ("A", "D", "S"):
        return Syntax.BASIC
    if _PARAMETER_NAME.match(name):
        return Syntax.PARAMETER
    return Syntax.EXTENDED if _EXTENDED_NAME.match(name) else None


@dataclass(frozen=True)
class Argument:
    """One value between commas: `token`, `"text"`, `token:"text"` or nothing.

    Attributes:
        token: the unquoted part: upper-case hexadecimal digits, or `@` and decimal digits, or empty.
        text: the quoted part, unescaped; None if there are no quotes. `9:"0A0B"` has token "9", text "0A0B".
    """

    token: str = ""
    text: str | None = None

    def __post_init__(self) -> None:
        if not _TOKEN.match(self.token):
            raise ProtocolError("an AT value holds a character that is no digit")

    @property
    def empty(self) -> bool:
        """True if the value was left out."""
        return not self.token and self.text is None

    def integer(self) -> int:
        """Return a decimal number of at most 18 digits; `ProtocolError` otherwise (V.250 5.4.2.1)."""
        if self.text is not None or not _DECIMAL.match(self.token):
            raise ProtocolError("a decimal number was expected")
        return int(self.token)

    def hex_integer(self) -> int:
        """Return a hexadecimal number of at most 16 digits, ignoring a quoted part (V.250 5.4.2.1)."""
        if not _HEX.match(self.token):
            raise ProtocolError("a hexadecimal number was expected")
        return int(self.token, 16)

    def string(self) -> str:
        """Return the quoted text; `ProtocolError` if there is none or a number stands before it."""
        if self.text is None or self.token:
            raise ProtocolError("a quoted string was expected")
        return self.text

    def hex_bytes(self) -> bytes:
        """Return the bytes of the quoted part (upper-case hexadecimal), whatever stands before it."""
        if self.text is None or not _HEX_PAIRS.match(self.text):
            raise ProtocolError("quoted bytes in upper-case hexadecimal were expected")
        return bytes.fromhex(self.text)


@dataclass(frozen=True)
class Command:
    """One command of a command line.

    Attributes:
        name: upper case, with its prefix: `*PINFO`, `+CMEE`, `E`, `&F`, `S3`; empty for a bare `AT`.
        form: EXECUTE, READ, TEST or SET. `E0` is EXECUTE with one argument, `S3=13` is SET.
        arguments: at least one for SET (`*X=` has one empty argument); none for READ and TEST.
    """

    name: str
    form: Form = Form.EXECUTE
    arguments: tuple[Argument, ...] = ()

    def __post_init__(self) -> None:
        syntax = syntax_of(self.name)
        if self.name and syntax is None:
            raise ProtocolError("this is no AT command name")
        if not self._arguments_fit(syntax):
            raise ProtocolError(f"{self.name or 'AT'}: this form does not take these arguments")

    def _arguments_fit(self, syntax: Syntax | None) -> bool:
        if syntax is None:
            return self.form is Form.EXECUTE and not self.arguments
        if syntax is Syntax.BASIC:
            return (
                self.form is Form.EXECUTE
                and all(_is_number(a) for a in self.arguments[:2])
                and len(self.arguments) < 2
            )
        if syntax is Syntax.PARAMETER:
            single = len(self.arguments) == 1 and _is_number(self.arguments[0])
            return (self.form is Form.READ and not self.arguments) or (self.form is Form.SET and single)
        return bool(self.arguments) == (self.form is Form.SET)

    def argument(self, index: int) -> Argument:
        """Return argument `index` (from 0), an empty one if it was left off."""
        return self.arguments[index] if index < len(self.arguments) else Argument()

    def expect_arguments(self, least: int, most: int) -> tuple[Argument, ...]:
        """Return the arguments if their number is within the bounds; `ProtocolError` otherwise."""
        if not least <= len(self.arguments) <= most:
            raise ProtocolError(f"{self.name}: wrong number of arguments")
        return self.arguments


def _is_number(argument: Argument) -> bool:
    return argument.text is None and bool(_DECIMAL.match(argument.token))


class FinalCode(Enum):
    """Final result codes without a number; the value is the verbose form (V.250 5.7.1)."""

    OK = "OK"
    ERROR = "ERROR"


@dataclass(frozen=True)
class CmeError:
    """`+CME ERROR: <code>` (3GPP TS 27.007 9.2)."""

    code: int


Final = FinalCode | CmeError
OK = FinalCode.OK
ERROR = FinalCode.ERROR


@dataclass(frozen=True)
class Response:
    """Information lines and the final result code of a command."""

    lines: tuple[str, ...] = ()
    final: Final = OK

    @property
    def ok(self) -> bool:
        """True if the final result code is OK."""
        return self.final is OK

    def tagged(self, prefix: str) -> tuple[str, ...]:
        """Return what follows `<prefix>: ` in the lines that start with it; other lines are not looked at."""
        start = prefix + ": "
        return tuple(line[len(start) :] for line in self.lines if line.startswith(start))


Reply = Response
"""What a handler returns."""

Handler = Callable[[Command], Response]
"""Answers one command. May raise `PhoneError` (shown as `*PERR:`) or `ProtocolError` (bad arguments)."""
