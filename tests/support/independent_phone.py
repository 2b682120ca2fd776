"""A whole phone, written from docs/protocol.md and docs/protocol-commands.md, with nothing of phone_link.

It does what unlocking a vault needs and no more: pairing, sessions, finding the one key, its public numbers, decryption,
and remembering headers.
"""

import base64
import hashlib
import hmac
import os
import re

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from support.independent_peer import Responder

MAX_LINE = 4096
PMSG_OVERHEAD = len('AT*PMSG=0,""\r')
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


class Ckr(Exception):
    """A command that fails with a PKCS#11 value, and the +CME ERROR that goes with it."""

    def __init__(self, value, cme):
        super().__init__(f"{value:X}")
        self.value, self.cme = value, cme


ARGUMENTS_BAD = (0x7, 50)
NOT_SUPPORTED = (0x54, 4)
NOT_INITIALIZED = (0x91, 3)
HEADER_OLD = (0x80000003, 3)
HEADER_FORKED = (0x80000004, 3)
VAULT_SUBSTITUTED = (0x80000005, 3)
UNKNOWN_PEER = (0x80000001, 3)
MISMATCH = (0x80000002, 3)


def text_of(data):
    return base64.b64encode(data).decode()


class IndependentPhone:
    """Answers one stream (`read(timeout)`, `write(bytes)`) until it ends.

    `said` collects what goes over the line: (">" or "<" or the inner ">>", "<<", text).
    """

    def __init__(self, rsa, static=None, ephemerals=(), nonce_b=None, name="pocket"):
        self.rsa, self.name = rsa, name
        self.static = static or X25519PrivateKey.generate()
        self.ephemerals, self.nonce_b = list(ephemerals), nonce_b
        self.headers = {}  # vault id: generation, MAC, tag
        self.computers, self.said, self.code, self.pairing_hash = {}, [], None, None
        numbers = rsa.public_key().public_numbers()
        der = rsa.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        modulus = numbers.n.to_bytes(-(-numbers.n.bit_length() // 8), "big")
        self.attributes = {
            0x000: (3).to_bytes(4, "big"),  # CKA_CLASS: CKO_PRIVATE_KEY
            0x100: bytes(4),  # CKA_KEY_TYPE: CKK_RSA
            0x102: hashlib.sha256(der).digest(),  # CKA_ID
            0x105: b"\x01",  # CKA_DECRYPT
            0x120: modulus,  # CKA_MODULUS
            0x122: bytes.fromhex("010001"),  # CKA_PUBLIC_EXPONENT
        }

    # -- lines ------------------------------------------------------------------------------------------------

    def serve(self, stream):
        self.noise = self.pairing = None
        self.message, self.sessions, received = b"", 0, b""
        try:
            while True:
                while b"\r" not in received:
                    received += stream.read(5)
                line, _, received = received.partition(b"\r")
                answer = self.outer(line.decode())
                stream.write("".join(f"\r\n{one}\r\n" for one in answer).encode())
        except OSError:
            return
        except Exception as error:
            if type(error).__name__ != "LinkClosed":
                raise

    def outer(self, line):
        self.said.append((">", line))
        try:
            answer = [*self.outer_command(line), "OK"]
        except Ckr as error:
            answer = [f"*PERR: {error.value:X}", f"+CME ERROR: {error.cme}"]
        self.said += [("<", one) for one in answer]
        return answer

    def outer_command(self, line):
        if line == "ATE0V1Q0+CMEE=1;*PCFG?":
            return [f"*PCFG: 1,1,{MAX_LINE},16400"]
        if match := re.fullmatch(r'AT\*PHS="(XX|KK)",([12]),"([0-9A-F]{16})","([A-Za-z0-9+/=]+)"', line):
            return [f'*PHS: "{text_of(self.shake_hands(*match.groups()))}"']
        if match := re.fullmatch(r'AT\*PMSG=([01]),"([A-Za-z0-9+/=]+)"', line):
            self.message += base64.b64decode(match[2])
            if match[1] == "0":
                return []
            message, self.message = self.message, b""
            return self.in_pieces(self.noise.send.encrypt(self.inner(self.noise.receive.decrypt(message))))
        raise Ckr(*ARGUMENTS_BAD)

    def in_pieces(self, message):
        size = (MAX_LINE - PMSG_OVERHEAD) // 4 * 3
        pieces = [message[start : start + size] for start in range(0, len(message), size)]
        return [f'*PMSG: {int(piece is pieces[-1])},"{text_of(piece)}"' for piece in pieces]

    def shake_hands(self, pattern, step, peer, message):
        if step == "1":
            remote = self.computers.get(peer)
            if pattern == "KK" and remote is None:
                raise Ckr(*UNKNOWN_PEER)
            ephemeral = self.ephemerals.pop(0) if self.ephemerals else None
            name = f"Noise_{pattern}_25519_AESGCM_SHA256".encode()
            self.noise = Responder(name, self.static, remote if pattern == "KK" else None, ephemeral)
            self.pairing, self.sessions = None, 0
        self.noise.read(base64.b64decode(message))
        if self.noise.receive is None:
            answer = self.noise.write()
            if pattern == "XX":
                return answer
        else:
            answer = b""
            self.pairing = Pairing(self, self.noise)
        digest = hashlib.sha256(b"phonevault v1 peer id" + self.noise.remote_static).digest()
        assert digest[:8].hex().upper() == peer
        return answer

    # -- inside ---------------------------------------------------------------------------------------------------

    def inner(self, plaintext):
        line = plaintext.decode()
        assert line.startswith("AT")
        assert line.endswith("\r")
        self.said.append((">>", line[:-1]))
        answer = []
        try:
            for command in re.findall(r'(?:[^";]|"[^"]*")+', line[2:-1]):
                answer += self.pairing.command(command) if self.pairing else self.inner_command(command)
            answer.append("OK")
        except Ckr as error:
            answer += [f"*PERR: {error.value:X}", f"+CME ERROR: {error.cme}"]
        self.said += [("<<", one) for one in answer]
        return "".join(f"\r\n{one}\r\n" for one in answer).encode()

    def inner_command(self, command):
        name, _, values = command.partition("=")
        match name:
            case "*POPEN":
                self.sessions += 1
                return [f"*POPEN: {self.sessions}"]
            case "*PFIND":
                wanted = template_of(bytes.fromhex(values.split(",")[1].strip('"')))
                fits = all(self.attributes.get(kind) == value for kind, value in wanted.items())
                return ["*PFIND: 1,0" if fits else "*PFIND: 0"]
            case "*PATTR":
                return [self.attribute_line(int(kind, 16)) for kind in values.split(",")[2:]]
            case "*PANCH":
                return self.header(values)
            case "*PREASON":
                return []
            case "*PDEC":
                match = re.fullmatch(r'\d+,9:"00000250000000020000",1,"([0-9A-F]+)"', values)
                secret = self.rsa.decrypt(bytes.fromhex(match[1]), OAEP)
                return [f'*PDEC: "{secret.hex().upper()}"']
        raise Ckr(*NOT_SUPPORTED)

    def header(self, values):
        """Clause 8.1 for a phone whose user is never asked."""
        match = re.fullmatch(
            r'([12]),"([0-9A-F]{32})",(\d{1,16}),"([0-9A-F]{64})"(?:,"([0-9A-F]{64})")?', values
        )
        if match is None or (match[1] == "2") != (match[5] is not None):
            raise Ckr(*ARGUMENTS_BAD)
        generation = int(match[3])
        known = self.headers.get(match[2])
        if known and match[5] and known[2] != match[5]:
            raise Ckr(*VAULT_SUBSTITUTED)
        if known and generation < known[0]:
            raise Ckr(*HEADER_OLD)
        if known and generation == known[0] and match[4] != known[1]:
            raise Ckr(*HEADER_FORKED)
        if match[5]:
            self.headers[match[2]] = (generation, match[4], match[5])
            return []
        return ["*PANCH: 0" if known is None else f"*PANCH: {1 if generation > known[0] else 2}"]

    def attribute_line(self, kind):
        value = self.attributes.get(kind)
        if value is None:
            return f"*PATTR: {kind:X},12,0"
        return f'*PATTR: {kind:X},0,{len(value)},"{value.hex().upper()}"'


class Pairing:
    """Clause 6, the phone's side; its user always agrees."""

    def __init__(self, phone, noise):
        self.phone, self.noise, self.step = phone, noise, 1
        self.nonce_b = phone.nonce_b or os.urandom(32)

    def command(self, command):
        match = re.fullmatch(r'\*PPAIR=([123])(?:,"([0-9A-F]{64})")?(?:,"([^"]*)")?', command)
        if match is None:
            raise Ckr(*NOT_SUPPORTED)
        if int(match[1]) != self.step:
            raise Ckr(*NOT_INITIALIZED)
        self.step += 1
        if match[1] == "1":
            self.commitment = bytes.fromhex(match[2])
            return [f'*PPAIR: "{self.nonce_b.hex().upper()}"']
        if match[1] == "2":
            nonce_a, h = bytes.fromhex(match[2]), self.noise.h
            expected = hmac.digest(nonce_a, b"phonevault v1 pairing commit" + h, "sha256")
            if not hmac.compare_digest(expected, self.commitment):
                raise Ckr(*MISMATCH)
            digest = hashlib.sha256(b"phonevault v1 pairing code" + h + nonce_a + self.nonce_b).digest()
            self.phone.pairing_hash = h
            self.phone.code = f"{int.from_bytes(digest[:8], 'big') % 10**6:06}"
            return [f'*PPAIR: "{self.phone.name}"']
        remote = self.noise.remote_static
        peer = hashlib.sha256(b"phonevault v1 peer id" + remote).digest()[:8]
        self.phone.computers[peer.hex().upper()] = remote
        return []


def template_of(data):
    found = {}
    while data:
        length = int.from_bytes(data[4:6], "big")
        found[int.from_bytes(data[:4], "big")] = data[6 : 6 + length]
        data = data[6 + length :]
    return found
