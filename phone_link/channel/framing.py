"""Noise messages in AT lines: base64 fragments within the agreed line length. No I/O."""

from __future__ import annotations

import base64
import binascii
import re

from phone_link.at.codec import parse_values
from phone_link.at.types import Argument, Command, Form
from phone_link.channel.noise import MAX_MESSAGE_BYTES
from phone_link.errors import ProtocolError

VERSION = 1
ENCODING_BASE64 = 1
"""Bit in `<encodings>` and argument of `AT*PCFG=`."""
MIN_LINE_CHARACTERS = 128
HANDSHAKE_LINE_CHARACTERS = 256
"""Every handshake command fits in so many characters, whatever `<maxline>` says."""

_OVERHEAD = len('AT*PMSG=0,""\r')
_RESULT_OVERHEAD = len('*PMSG: 0,""')
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}\Z")


def encode_base64(data: bytes) -> str:
    """Return standard base64 with padding (RFC 4648, 4)."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str) -> bytes:
    """Return the bytes of canonical base64; `ProtocolError` for anything else."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = None
    if data is None or not _BASE64.match(text) or encode_base64(data) != text:
        raise ProtocolError("this is no canonical base64")
    return data


def fragment_bytes(max_line: int) -> int:
    """Return how many bytes of a message fit in one line of `max_line` characters.

    Command lines count `AT` and the terminator; information lines count no header and trailer.
    """
    if max_line < MIN_LINE_CHARACTERS:
        raise ProtocolError(f"lines of {max_line} characters are too short for the channel")
    return (max_line - max(_OVERHEAD, _RESULT_OVERHEAD)) // 4 * 3


def split_message(message: bytes, max_line: int) -> list[tuple[bool, str]]:
    """Return the fragments of a message: (is it the last one, base64)."""
    size = fragment_bytes(max_line)
    pieces = [message[start : start + size] for start in range(0, len(message), size)] or [b""]
    return [(index == len(pieces) - 1, encode_base64(piece)) for index, piece in enumerate(pieces)]


class Reassembler:
    """Joins fragments; bounded."""

    def __init__(self, max_message: int = MAX_MESSAGE_BYTES) -> None:
        self._max_message = max_message
        self._data = bytearray()

    def add(self, arguments: tuple[Argument, ...]) -> bytes | None:
        """Take `<last>,"<base64>"`; return the whole message after its last fragment, else None.

        Raises:
            ProtocolError: malformed, or the message is too long. What was collected is dropped.
        """
        try:
            last, data = _fragment(arguments)
            if len(self._data) + len(data) > self._max_message:
                raise ProtocolError("a message of the channel is too long")
        except ProtocolError:
            self._data.clear()
            raise
        self._data += data
        if not last:
            return None
        message = bytes(self._data)
        self._data.clear()
        return message

    @property
    def pending(self) -> bool:
        """True between the first and the last fragment of a message."""
        return bool(self._data)


def _fragment(arguments: tuple[Argument, ...]) -> tuple[bool, bytes]:
    if len(arguments) != 2 or arguments[0].token not in ("0", "1"):
        raise ProtocolError("a fragment of the channel is malformed")
    return bool(arguments[0].integer()), decode_base64(arguments[1].string())


def message_command(last: bool, encoded: str) -> str:
    """Return the body of the `*PMSG` command line with one fragment."""
    return f'*PMSG={int(last)},"{encoded}"'


def message_line(last: bool, encoded: str) -> str:
    """Return the `*PMSG:` information line with one fragment."""
    return f'*PMSG: {int(last)},"{encoded}"'


def event_line(message: bytes) -> str:
    """Return the unsolicited `*PMSGEV:` line with one whole message."""
    return f'*PMSGEV: "{encode_base64(message)}"'


def parse_quoted_base64(text: str) -> bytes:
    """Return the bytes of the single quoted base64 value of `*PHS:` and `*PMSGEV:`."""
    values = parse_values(text)
    if len(values) != 1:
        raise ProtocolError("one quoted value was expected")
    return decode_base64(values[0].string())


def handshake_command(pattern: str, step: int, peer: bytes, message: bytes) -> str:
    """Return the body of an `*PHS` command line."""
    return f'*PHS="{pattern}",{step},"{peer.hex().upper()}","{encode_base64(message)}"'


def parse_handshake(command: Command) -> tuple[str, int, bytes, bytes]:
    """Return pattern word, step, peer id (8 bytes) and message of an `*PHS` command; or `ProtocolError`."""
    if command.form is not Form.SET:
        raise ProtocolError("*PHS: only its set form exists")
    pattern, step, peer, message = command.expect_arguments(4, 4)
    identity = peer.hex_bytes()
    if peer.token or len(identity) != 8:
        raise ProtocolError("*PHS: a peer id has 8 bytes")
    return pattern.string(), step.integer(), identity, decode_base64(message.string())


def configuration_line(max_line: int, max_message: int) -> str:
    """Return the `*PCFG:` information line."""
    return f"*PCFG: {VERSION},{ENCODING_BASE64},{max_line},{max_message}"


def parse_configuration(text: str) -> tuple[int, int]:
    """Return <maxline> and <maxchunk> of a `*PCFG:` line.

    Raises:
        ProtocolError: malformed, another version, or no base64.
    """
    values = parse_values(text)
    if len(values) != 4:
        raise ProtocolError("the phone's *PCFG is malformed")
    version, encodings, max_line, max_message = (value.integer() for value in values)
    if version != VERSION or not encodings & ENCODING_BASE64:
        raise ProtocolError(f"the phone speaks version {version} of the link, this program version {VERSION}")
    if max_line < HANDSHAKE_LINE_CHARACTERS or max_message < 1024:
        raise ProtocolError("the phone takes too little in one line")
    return max_line, max_message
