"""The computer's side of the channel: handshake, and a `Commander` whose commands run inside."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass

from phone_link.at import cme
from phone_link.at.client import Commander, UnsolicitedHandler, UnsolicitedTable, require_body
from phone_link.at.codec import parse_values
from phone_link.at.response_decoder import parse_final
from phone_link.at.types import Final, Response
from phone_link.channel import framing
from phone_link.channel.noise import (
    MAX_MESSAGE_BYTES,
    MAX_PLAINTEXT_BYTES,
    TAG_BYTES,
    Established,
    Handshake,
    Pattern,
    peer_id,
    public_of,
)
from phone_link.errors import ChannelError, LinkClosed, LinkError, ProtocolError
from phone_link.wipe import wipe

OUTER_SETUP = "E0V1Q0+CMEE=1;*PCFG?"
"""Echo off, words, results on, numbered errors, and the phone's limits, in one round trip."""
MAX_OWN_LINE_CHARACTERS = 65536 - 64

_LEGAL = re.compile(rb"(?:[\r\n]|[ -~]+[\r\n])*\Z")
_LINE = re.compile(rb"[ -~]+")


@dataclass(frozen=True)
class Limits:
    """What the phone takes: characters of a command line, bytes of a Noise message."""

    max_line: int
    max_message: int


def prepare(outer: Commander, timeout_s: float) -> Limits:
    """Bring a fresh line into a known state and learn the phone's limits.

    Raises:
        ProtocolError: whatever answers is no phonevault phone of this version.
    """
    response = cme.check(outer.command(OUTER_SETUP, timeout_s))
    lines = response.tagged("*PCFG")
    if len(lines) != 1:
        raise ProtocolError("whatever answers there is no phonevault phone")
    max_line, max_message = framing.parse_configuration(lines[0])
    return Limits(min(max_line, MAX_OWN_LINE_CHARACTERS), min(max_message, MAX_MESSAGE_BYTES))


def handshake(
    outer: Commander, pattern: Pattern, private: bytes, remote_static: bytes | None, timeout_s: float
) -> Established:
    """Run a handshake as the initiator.

    Raises:
        UnknownPeer: the phone does not know this computer (KK).
        PairingRefused: the phone does not accept pairing now (XX).
        ChannelError: the phone is not who it should be; the link is closed.
    """
    noise = Handshake(pattern, initiator=True, private=private, remote_static=remote_static)
    own_id = peer_id(public_of(private))
    deadline = time.monotonic() + timeout_s
    step = 0
    while not noise.finished:
        step += 1
        line = framing.handshake_command(pattern.value, step, own_id, noise.write())
        answers = cme.check(outer.command(line, max(0.0, deadline - time.monotonic()))).tagged("*PHS")
        if len(answers) != 1:
            raise ChannelError("the phone left out its part of the handshake")
        answer = framing.parse_quoted_base64(answers[0])
        if not noise.finished:
            noise.read(answer)
        elif answer:
            raise ChannelError("the phone answered more than the handshake has")
    return noise.establish()


class SecureCommander:
    """A `Commander` whose command lines, answers and unsolicited results go through the channel."""

    def __init__(self, outer: Commander, established: Established, limits: Limits) -> None:
        self._outer = outer
        self._transport = established.transport
        self._limits = limits
        self._unsolicited = UnsolicitedTable()
        self._turn = threading.Lock()
        self._failure: LinkError | None = None
        outer.on_unsolicited("*PMSGEV", self._event)

    def command(self, line: str, timeout_s: float) -> Response:
        """See `Commander.command`. A line is at most 65,000 characters and what the phone takes."""
        require_body(line)
        if len(line) + 3 > min(MAX_PLAINTEXT_BYTES, self._limits.max_message - TAG_BYTES):
            raise ProtocolError("a command is too long for the channel")
        with self._turn:
            try:
                self._raise_failure()
                return self._round_trip(line, time.monotonic() + timeout_s)
            except LinkError:
                self.close()
                raise

    def _round_trip(self, line: str, deadline: float) -> Response:
        message = self._encrypt(line)
        for last, encoded in framing.split_message(message, self._limits.max_line):
            remaining = max(0.0, deadline - time.monotonic())
            outer = self._outer.command(framing.message_command(last, encoded), remaining)
            self._raise_failure()
            lines = self._require_outer_ok(outer).tagged("*PMSG")
            if lines and not last:
                raise ChannelError("the phone answered before the message was complete")
        plaintext = self._transport.decrypt(self._join(lines))
        try:
            return self._inner_response(plaintext)
        finally:
            wipe(plaintext)

    def _encrypt(self, line: str) -> bytes:
        text = f"AT{line}\r"
        plaintext = bytearray(text, "ascii")
        try:
            return self._transport.encrypt(plaintext)
        finally:
            wipe(plaintext)
            wipe(text)  # a PIN goes this way

    @staticmethod
    def _require_outer_ok(response: Response) -> Response:
        # Errors of inner commands come inside; an error outside means that the phone's channel is gone.
        if not response.ok:
            raise ChannelError("the phone gave the channel up")
        return response

    @staticmethod
    def _join(lines: tuple[str, ...]) -> bytes:
        reassembler = framing.Reassembler()
        message: bytes | None = None
        for line in lines:
            if message is not None:
                raise ChannelError("the phone answered more than one message")
            message = reassembler.add(parse_values(line))
        if message is None:
            raise ChannelError("the phone's answer is incomplete")
        return message

    def _inner_response(self, plaintext: bytearray) -> Response:
        """Return the response that fills the whole of a plaintext."""
        lines, final = _split_response(plaintext)
        if final is None:
            raise ProtocolError("the phone's answer has no result code")
        return Response(lines, final)

    def _event(self, rest: str) -> None:
        try:
            plaintext = self._transport.decrypt(framing.parse_quoted_base64(rest))
            lines, final = _split_response(plaintext)
            if final is not None or len(lines) != 1:
                raise ProtocolError("the phone's unsolicited result is malformed")
        except LinkError as error:
            self._failure = error
            raise
        self._unsolicited.deliver(lines[0])

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def poll(self, timeout_s: float) -> None:
        """See `Commander.poll`."""
        with self._turn:
            try:
                self._raise_failure()
                self._outer.poll(timeout_s)
            except LinkError:
                self.close()
                raise

    def on_unsolicited(self, prefix: str, handler: UnsolicitedHandler) -> None:
        """See `Commander.on_unsolicited`; inner results only."""
        self._unsolicited.add(prefix, handler)

    def close(self) -> None:
        """Close the link."""
        if self._failure is None:
            self._failure = LinkClosed("the link is closed")
        self._outer.close()


def _split_response(plaintext: bytearray) -> tuple[tuple[str, ...], Final | None]:
    """Return the lines before the final result code, and the code; None if there is none.

    No copies of the plaintext but the lines themselves are made: it may hold a secret.

    Raises:
        ProtocolError: illegal bytes, an unfinished line, or something after the result code.
    """
    if not _LEGAL.match(plaintext):
        raise ProtocolError("the phone's answer is malformed")
    lines: list[str] = []
    with memoryview(plaintext) as view:
        for match in _LINE.finditer(plaintext):
            line = str(view[match.start() : match.end()], "ascii")
            final = parse_final(line)
            if final is None:
                lines.append(line)
            elif _LINE.search(plaintext, match.end()):
                raise ProtocolError("something follows the phone's result code")
            else:
                return tuple(lines), final
    return tuple(lines), None
