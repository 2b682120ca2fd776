"""The channel against a second implementation of the document, and the document's vectors."""

import base64
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from support.independent_peer import Responder
from support.streams import Worker, stream_pair

from phone_link.at.client import AtClient
from phone_link.at.types import Response
from phone_link.channel.client import SecureCommander, handshake, prepare
from phone_link.channel.noise import Pattern, generate_private, peer_id, public_of
from phone_link.pairing.code import commitment, pairing_code

COMPUTER = generate_private()


class OtherPhone:
    """Reads lines and writes answers by hand, as the document says."""

    def __init__(self, stream):
        self.stream, self.static, self.received = stream, X25519PrivateKey.generate(), b""

    def line(self):
        while b"\r" not in self.received:
            self.received += self.stream.read(5)
        line, _, self.received = self.received.partition(b"\r")
        return line.decode()

    def say(self, *lines):
        self.stream.write("".join(f"\r\n{line}\r\n" for line in lines).encode())

    def value(self, pattern):
        return base64.b64decode(re.fullmatch(pattern, self.line())[1])

    def serve(self, pattern):
        assert self.line() == "ATE0V1Q0+CMEE=1;*PCFG?"
        self.say("*PCFG: 1,1,300,2000", "OK")
        peer = peer_id(public_of(COMPUTER)).hex().upper()
        remote = public_of(COMPUTER) if pattern == "KK" else None
        noise = Responder(f"Noise_{pattern}_25519_AESGCM_SHA256".encode(), self.static, remote)
        for step in (1, 2)[: 2 if pattern == "XX" else 1]:
            noise.read(self.value(rf'AT\*PHS="{pattern}",{step},"{peer}","(.*)"'))
            answer = noise.write() if noise.receive is None else b""
            self.say(f'*PHS: "{base64.b64encode(answer).decode()}"', "OK")
        assert noise.remote_static == public_of(COMPUTER)
        assert noise.receive.decrypt(self.value(r'AT\*PMSG=1,"(.*)"')) == b"AT*PINFO?\r"
        event = noise.send.encrypt(b"\r\n*PLOCKEV: 1\r\n")
        self.say(f'*PMSGEV: "{base64.b64encode(event).decode()}"')
        answer = noise.send.encrypt(b'\r\n*PINFO: "x"\r\n\r\nOK\r\n')
        first, second = (base64.b64encode(part).decode() for part in (answer[:10], answer[10:]))
        self.say(f'*PMSG: 0,"{first}"', f'*PMSG: 1,"{second}"', "OK")
        return noise.h


@pytest.mark.parametrize("pattern", ["XX", "KK"])
def test_a_phone_written_from_the_document(pattern):
    with stream_pair() as (computer, other):
        phone = OtherPhone(other)
        worker = Worker(lambda: phone.serve(pattern))
        outer = AtClient(computer)
        limits = prepare(outer, 5)
        static = phone.static.public_key().public_bytes_raw()
        established = handshake(outer, Pattern(pattern), COMPUTER, static if pattern == "KK" else None, 5)
        assert established.remote_static == static
        commander, locks = SecureCommander(outer, established, limits), []
        commander.on_unsolicited("*PLOCKEV", locks.append)
        assert commander.command("*PINFO?", 5) == Response(('*PINFO: "x"',))
        assert locks == ["1"]
        assert worker.join() == established.handshake_hash


def test_the_vectors_of_the_document():
    text = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    h, na, nb = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32
    assert re.search(r"peer id +([0-9A-F]+)", text)[1] == peer_id(bytes(range(32))).hex().upper()
    assert re.search(r"commitment +([0-9A-F]{64})", text)[1] == commitment(na, h).hex().upper()
    assert re.search(r"code +([0-9]{6})\n", text)[1] == pairing_code(h, na, nb)
