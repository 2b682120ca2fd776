"""The phone's side of the channel: handshake, decryption, and the inner command interpreter of a peer.

One `ChannelServer` serves one connection and is the handler of its `AtServer`:

    channel = ChannelServer(private, lookup_peer=…, handler_for_peer=…)
    server = AtServer(stream, channel)
    channel.attach(server)
    server.serve()
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from phone_link.at.cme import BAD_PARAMETERS, NOT_ALLOWED
from phone_link.at.command_decoder import MAX_LINE_CHARACTERS, CommandLineDecoder
from phone_link.at.interpreter import Interpreter, Late, Settings
from phone_link.at.server import AtServer
from phone_link.at.types import OK, CmeError, Command, Form, Handler, Response
from phone_link.channel import framing
from phone_link.channel.noise import (
    MAX_MESSAGE_BYTES,
    MAX_PLAINTEXT_BYTES,
    TAG_BYTES,
    Established,
    Handshake,
    Pattern,
    Transport,
    peer_id,
)
from phone_link.errors import (
    CKR_UNKNOWN_PEER,
    ChannelError,
    LinkClosed,
    PhoneError,
    ProtocolError,
    UserRefused,
)

MAX_INNER_LINE_CHARACTERS = 16384
"""Most characters of an inner command line, `AT` and terminator included."""
MAX_CHUNK_BYTES = MAX_INNER_LINE_CHARACTERS + TAG_BYTES
"""Largest Noise message the phone takes: <maxchunk>."""


@dataclass(frozen=True)
class PeerContext:
    """Who is at the other end of an established channel.

    Attributes:
        static_public: the computer's static public key, 32 bytes, authenticated.
        peer_id: its 8-byte id.
        handshake_hash: 32 bytes that name this handshake.
        paired: True after KK; False while pairing (XX).
        send_unsolicited: sends an inner unsolicited result to this peer (`LinkClosed` if it is gone).
    """

    static_public: bytes
    peer_id: bytes
    handshake_hash: bytes
    paired: bool
    send_unsolicited: Callable[[str], None]


HandlerForPeer = Callable[[PeerContext], Handler]
INNER_SETTINGS = Settings(echo=False, cme_errors=1)


class ChannelServer:
    """The outer handler of one connection (`*PCFG`, `*PHS`, `*PMSG`); everything else outside is refused."""

    def __init__(
        self,
        identity_private: bytes,
        lookup_peer: Callable[[bytes], bytes | None],
        handler_for_peer: HandlerForPeer,
        *,
        handler_for_pairing: HandlerForPeer | None = None,
        pairing_allowed: Callable[[], bool] = lambda: True,
        peer_closed: Callable[[PeerContext], None] | None = None,
        max_line: int = MAX_LINE_CHARACTERS,
    ) -> None:
        """Set up.

        Args:
            identity_private: the phone's static private key, 32 bytes.
            lookup_peer: static public key of a paired computer by its peer id, None if unknown.
            handler_for_peer: makes the inner handler after a KK handshake.
            handler_for_pairing: makes the inner handler after an XX handshake; None refuses XX.
            pairing_allowed: asked when an XX handshake begins.
            peer_closed: called once for each established peer whose channel ends.
            max_line: <maxline>, characters of an outer command line.
        """
        self._private = identity_private
        self._lookup_peer = lookup_peer
        self._handler_for_peer = handler_for_peer
        self._handler_for_pairing = handler_for_pairing
        self._pairing_allowed = pairing_allowed
        self._peer_closed = peer_closed
        self._max_line = max_line
        self._server: AtServer | None = None
        self._handshake: tuple[Handshake, bytes] | None = None
        self._session: _Session | None = None
        self._reassembler = framing.Reassembler(MAX_CHUNK_BYTES)

    def attach(self, server: AtServer) -> None:
        """Name the server that carries this channel; unsolicited results go out through it."""
        self._server = server

    def __call__(self, command: Command) -> Response | Late:
        """Answer an outer command."""
        match command.name:
            case "*PCFG":
                return self._configure(command)
            case "*PHS":
                return self._hand_shake(command)
            case "*PMSG":
                return self._message(command)
        return Response((), CmeError(NOT_ALLOWED))

    def _configure(self, command: Command) -> Response:
        if command.form is Form.READ:
            return Response((framing.configuration_line(self._max_line, MAX_CHUNK_BYTES),))
        if command.form is Form.TEST:
            return Response((f"*PCFG: ({framing.ENCODING_BASE64})",))
        (encoding,) = command.expect_arguments(1, 1)
        return Response((), OK if encoding.integer() == framing.ENCODING_BASE64 else CmeError(BAD_PARAMETERS))

    def _hand_shake(self, command: Command) -> Response:
        word, step, peer, message = framing.parse_handshake(command)
        if step == 1:
            self.close()
            self._handshake = (self._begin(word, peer), peer)
        elif step != 2 or word != Pattern.XX.value or self._handshake is None or self._handshake[1] != peer:
            raise ChannelError("a handshake message came out of turn")
        handshake = self._handshake[0]
        handshake.read(message)
        answer = b"" if handshake.finished else handshake.write()
        if handshake.finished:
            self._handshake = None
            self._establish(handshake.establish(), peer, paired=word == Pattern.KK.value)
        return Response((f'*PHS: "{framing.encode_base64(answer)}"',))

    def _begin(self, word: str, peer: bytes) -> Handshake:
        if word == Pattern.KK.value:
            remote = self._lookup_peer(peer)
            if remote is None:
                raise PhoneError(CKR_UNKNOWN_PEER, "this computer is not paired")
            return Handshake(Pattern.KK, initiator=False, private=self._private, remote_static=remote)
        if word != Pattern.XX.value:
            raise ProtocolError("*PHS: unknown pattern")
        if self._handler_for_pairing is None or not self._pairing_allowed():
            raise UserRefused("pairing is not allowed now")
        return Handshake(Pattern.XX, initiator=False, private=self._private)

    def _establish(self, established: Established, peer: bytes, *, paired: bool) -> None:
        if peer_id(established.remote_static) != peer:
            raise ChannelError("the computer named another computer's id")
        session = _Session(established.transport)
        context = PeerContext(
            established.remote_static,
            peer,
            established.handshake_hash,
            paired,
            lambda line: self._send_event(session, line),
        )
        make = self._handler_for_peer if paired else self._handler_for_pairing
        if make is None:
            raise UserRefused("pairing is not allowed now")
        session.start(context, make(context))
        self._session = session

    def _message(self, command: Command) -> Response | Late:
        session = self._session
        if session is None:
            return Response((), CmeError(NOT_ALLOWED))
        if command.form is not Form.SET:
            raise ProtocolError("*PMSG: only its set form exists")
        message = self._reassembler.add(command.arguments)
        if message is None:
            return Response()
        answer = session.run(message)
        return lambda: self._encrypt_answer(session, answer)

    def _encrypt_answer(self, session: _Session, answer: bytes) -> Response:
        fragments = framing.split_message(session.encrypt(answer), self._max_line)
        return Response(tuple(framing.message_line(last, encoded) for last, encoded in fragments))

    def send_unsolicited(self, line: str) -> None:
        """Send an inner unsolicited result to the peer of the moment. Thread-safe.

        Raises:
            LinkClosed: there is no channel (any more).
        """
        session = self._session
        if session is None:
            raise LinkClosed("no channel is open")
        self._send_event(session, line)

    def _send_event(self, session: _Session, line: str) -> None:
        server = self._server
        if server is None or session.closed:
            raise LinkClosed("the channel is closed")
        plaintext = session.event(line)
        if len(plaintext) + TAG_BYTES > framing.fragment_bytes(self._max_line):
            raise ProtocolError("an unsolicited result is too long")
        # Encrypted inside the server's write lock: the nonce follows the order on the wire.
        server.send_unsolicited(lambda: framing.event_line(session.encrypt(plaintext)))

    def close(self) -> None:
        """End the channel; called when the connection ends, and by a new handshake. Idempotent."""
        session, self._session = self._session, None
        self._handshake = None
        self._reassembler = framing.Reassembler(MAX_CHUNK_BYTES)
        if session is not None:
            session.closed = True
            if self._peer_closed is not None and session.context is not None:
                self._peer_closed(session.context)


class _Session:
    """An established channel: its keys and its inner interpreter."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._encrypt_lock = threading.Lock()
        self._decoder = CommandLineDecoder(MAX_INNER_LINE_CHARACTERS)
        self._interpreter: Interpreter | None = None
        self.context: PeerContext | None = None
        self.closed = False

    def start(self, context: PeerContext, handler: Handler) -> None:
        self.context = context
        self._interpreter = Interpreter(handler, INNER_SETTINGS)

    def run(self, message: bytes) -> bytes:
        """Return the plaintext of the answer to an encrypted command line."""
        if self._interpreter is None:
            raise ChannelError("the channel is not open")
        plaintext = self._transport.decrypt(message)
        # The plaintext may hold a PIN: decoded once, wiped here. The interpreter's strings are short-lived.
        self._decoder.feed(bytes(plaintext))
        plaintext[:] = bytes(len(plaintext))
        step = self._decoder.next()
        if step is None or step.body is None or self._decoder.next() is not None:
            raise ChannelError("a message of the channel is not exactly one command line")
        answer = self._interpreter.render(self._interpreter.run(step.body))
        if len(answer) > min(MAX_PLAINTEXT_BYTES, MAX_MESSAGE_BYTES - TAG_BYTES):
            return self._interpreter.render([Response((), CmeError(100))])
        return answer

    def event(self, line: str) -> bytes:
        assert self._interpreter is not None
        return self._interpreter.information(line).encode("ascii")

    def encrypt(self, plaintext: bytes) -> bytes:
        with self._encrypt_lock:
            return self._transport.encrypt(plaintext)
