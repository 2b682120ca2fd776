"""A scripted phone: the real channel and pairing around a few hard-coded answers. No phone agent code."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from phone_link.at.server import AtServer
from phone_link.at.types import Command, Response
from phone_link.channel.noise import generate_private, peer_id, public_of
from phone_link.channel.server import ChannelServer, PeerContext
from phone_link.cryptoki import CKA, CKR, decode_template, encode_big_integer
from phone_link.errors import DecryptFailed, LinkError, PhoneError, PinIncorrect, PinRequired, UserRefused
from phone_link.host.keys import fingerprint_of
from phone_link.host.phone_book import PairedPhone
from phone_link.pairing.phone import PhonePairing
from phone_link.stream import Stream

OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
PIN = "1234"


class ScriptedPhone:
    """State a test sets before, and looks at after."""

    def __init__(self, key: rsa.RSAPrivateKey | None) -> None:
        self.private = generate_private()
        self.key = key
        self.peers: dict[bytes, bytes] = {}
        self.logged_in = True
        self.named_by_number = False
        self.user_agrees: bool | None = True
        self.accepts_pairing = True
        self.code = ""
        self.computer_name = ""
        self.commands: list[Command] = []
        self.events: list[str] = []
        self.errors: list[LinkError] = []
        self.key_to_generate: rsa.RSAPrivateKey | None = None

    phone_name = "Scripted phone"

    def know(self, static_public: bytes) -> None:
        self.peers[peer_id(static_public)] = static_public

    @property
    def der(self) -> bytes:
        assert self.key is not None
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def paired(self, spec: str = "unix:/nowhere") -> PairedPhone:
        return PairedPhone(
            "phone", spec, public_of(self.private), self.der, fingerprint_of(self.der), "2026-01-01"
        )

    # Pairing hooks

    def show(self, code: str, computer_name: str) -> None:
        self.code, self.computer_name = code, computer_name

    def confirmed(self) -> bool | None:
        return self.user_agrees

    def store(self, static_public: bytes, computer_name: str) -> None:
        assert computer_name == self.computer_name
        self.know(static_public)

    # Serving

    @contextlib.contextmanager
    def serving(self, stream: Stream, max_line: int = 4096) -> Iterator[ChannelServer]:
        """Serve one connection in a thread until the block ends."""
        channel = ChannelServer(
            self.private,
            self.peers.get,
            lambda context: lambda command: self.answer(context, command),
            handler_for_pairing=lambda c: PhonePairing(c.handshake_hash, c.static_public, self),
            pairing_allowed=lambda: self.accepts_pairing,
            max_line=max_line,
        )
        server = AtServer(stream, channel, max_line=max_line)
        channel.attach(server)
        thread = threading.Thread(target=self._serve, args=(server, channel))
        thread.start()
        try:
            yield channel
        finally:
            server.close()
            thread.join(10)
            assert not thread.is_alive()

    def _serve(self, server: AtServer, channel: ChannelServer) -> None:
        try:
            server.serve()
        except LinkError as error:
            self.errors.append(error)
        finally:
            channel.close()

    def answer(self, context: PeerContext, command: Command) -> Response:
        self.commands.append(command)
        for event in self.events:
            context.send_unsolicited(event)
        return getattr(self, f"on_{command.name[1:].lower()}")(command)

    def on_popen(self, command: Command) -> Response:
        return Response(("*POPEN: 7",))

    def on_plogin(self, command: Command) -> Response:
        if self.logged_in:
            raise PhoneError(CKR.USER_ALREADY_LOGGED_IN)
        if len(command.arguments) == 3 and command.arguments[2].string() != PIN:
            raise PinIncorrect(2)
        self.logged_in = True
        return Response()

    def on_pfind(self, command: Command) -> Response:
        template = dict(decode_template(command.arguments[1].hex_bytes()))
        own_id = (
            b"\x01" if self.named_by_number else bytes.fromhex(fingerprint_of(self.der)) if self.key else b""
        )
        found = self.key is not None and self.logged_in and template.get(CKA.ID, own_id) == own_id
        return Response(("*PFIND: 33,0" if found else "*PFIND: 0",))

    def on_pattr(self, command: Command) -> Response:
        assert self.key is not None
        numbers = self.key.public_key().public_numbers()
        values = {CKA.MODULUS: numbers.n, CKA.PUBLIC_EXPONENT: numbers.e}
        lines = []
        for wanted in command.arguments[2:]:
            value = encode_big_integer(values[CKA(wanted.hex_integer())])
            lines.append(f'*PATTR: {wanted.token},0,{len(value)},"{value.hex().upper()}"')
        return Response(tuple(lines))

    def on_pgenkp(self, command: Command) -> Response:
        self.key = self.key_to_generate
        return Response(("*PGENKP: 32,33",))

    def on_preason(self, command: Command) -> Response:
        return Response()

    def on_pdec(self, command: Command) -> Response:
        if not self.logged_in:
            raise PinRequired
        if not self.user_agrees:
            raise UserRefused
        assert self.key is not None
        assert command.arguments[2].integer() == 33
        try:
            plaintext = self.key.decrypt(command.arguments[3].hex_bytes(), OAEP)
        except ValueError:
            raise DecryptFailed from None
        return Response((f'*PDEC: "{plaintext.hex().upper()}"',))

    def on_prand(self, command: Command) -> Response:
        return Response((f'*PRAND: "{"5A" * command.arguments[1].integer()}"',))

    def on_pinfo(self, command: Command) -> Response:
        return Response(('*PINFO: "2.40","phonevault","Scripted phone","1.0"',))

    def on_ptok(self, command: Command) -> Response:
        return Response(('*PTOK: 0,"label","maker","model","serial",40000,0,4,16',))
