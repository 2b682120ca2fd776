"""The example of docs/protocol-example.md, made anew: phonevault as the computer, the independent phone as the phone.

Every random value is replaced by the page's. To write the page after a change of the protocol, from the checkout:

    PYTHONPATH=.:tests python -m support.protocol_example > docs/protocol-example.md
"""

import contextlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateNumbers,
    RSAPublicNumbers,
    rsa_crt_dmp1,
    rsa_crt_dmq1,
    rsa_crt_iqmp,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from noise.backends.default.diffie_hellmans import ED25519
from noise.backends.default.keypairs import KeyPair25519

from phone_link.channel.noise import public_of
from phone_link.host.identity import HostIdentity
from phone_link.host.pair import pair
from phone_link.host.session import PhoneSession
from support.independent_phone import IndependentPhone
from support.streams import Worker, stream_pair

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol-example.md"
COMPUTER, PHONE = b"\x11" * 32, b"\x22" * 32
EPHEMERALS = {
    "XX": (b"\x33" * 32, b"\x44" * 32),
    "KK": (b"\x55" * 32, b"\x66" * 32),
    "KK again": (b"\x77" * 32, b"\x88" * 32),
}
NONCE_A, NONCE_B = b"\xaa" * 32, b"\xbb" * 32
SLOT_SECRET = bytes(range(32))
HEADER = (b"\xcc" * 16, 7, b"\xdd" * 32)
"""Vault id, generation, MAC."""
TAG = b"\xee" * 32
LABELS = {">": "> ", "<": "< ", ">>": "  » ", "<<": "  « "}


def word(name, page):
    """A value that the page gives in one line."""
    return re.search(rf"^    {name} +(\S+)$", page, re.MULTILINE)[1]


def given(name, page):
    """A number that the page gives: hexadecimal, over several lines."""
    return (
        re.search(rf"^    {name} +((?:[0-9A-F]+\s+)+)", page, re.MULTILINE)[1]
        .replace(" ", "")
        .replace("\n", "")
    )


def rsa_key(page):
    p, q = (int(given(name, page), 16) for name in "pq")
    n, e = p * q, 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    public = RSAPublicNumbers(e, n)
    return RSAPrivateNumbers(
        p, q, d, rsa_crt_dmp1(d, p), rsa_crt_dmq1(d, q), rsa_crt_iqmp(p, q), public
    ).private_key()


@contextlib.contextmanager
def fixed_values():
    """The computer's ephemeral keys and its pairing nonce are the page's."""
    keys = iter([computer for computer, _ in EPHEMERALS.values()])

    def generate(_self):
        private = X25519PrivateKey.from_private_bytes(next(keys))
        public = private.public_key()
        return KeyPair25519(private, public, public.public_bytes_raw())

    with (
        mock.patch.object(ED25519, "generate_keypair", generate),
        mock.patch("phone_link.pairing.computer.fresh_nonce", lambda: NONCE_A),
    ):
        yield


@dataclass
class Session:
    """What came of it."""

    parts: list[list[tuple[str, str]]]
    handshake_hash: bytes
    code: str
    secret: bytes
    fingerprint: str


def run(page):
    """Pair, connect again, ask for a sign of life, have a slot secret decrypted.

    The transcript has three parts: pairing, the key, opening a vault.
    """
    own = [X25519PrivateKey.from_private_bytes(key) for _, key in EPHEMERALS.values()]
    phone = IndependentPhone(rsa_key(page), X25519PrivateKey.from_private_bytes(PHONE), own, NONCE_B)
    identity, codes = HostIdentity(COMPUTER, public_of(COMPUTER)), []
    with fixed_values():
        with stream_pair() as (computer, other):
            worker = Worker(lambda: phone.serve(other))
            paired = pair(computer, identity, "laptop", "tcp:x:1", lambda code: not codes.append(code))
            worker.join()
        assert codes == [phone.code]
        boundary = next(index for index, (_, text) in enumerate(phone.said) if '"KK"' in text)
        parts = [phone.said[:boundary], phone.said[boundary:]]
        phone.said = []
        with stream_pair() as (computer, other):
            worker = Worker(lambda: phone.serve(other))
            session = PhoneSession.open(computer, identity, paired)
            session.ping(5)
            cryptogram = bytes.fromhex(given("cryptogram", page))
            session.show_header(*HEADER)
            secret = session.decrypt(paired.fingerprint, cryptogram, "open folder")
            session.remember_header(*HEADER, TAG)
            session.close()
            worker.join()
    return Session([*parts, phone.said], phone.pairing_hash, phone.code, bytes(secret), paired.fingerprint)


def transcript(part):
    return "\n".join(f"    {LABELS[kind]}{text}" for kind, text in part)


def render(page):
    """The page with its three transcripts made anew."""
    for number, part in enumerate(run(page).parts, 1):
        block = f"<!-- transcript {number} -->\n\n{transcript(part)}\n\n<!-- end -->"
        page = re.sub(
            rf"<!-- transcript {number} -->.*?<!-- end -->",
            lambda _, block=block: block,
            page,
            flags=re.DOTALL,
        )
    return page


if __name__ == "__main__":
    sys.stdout.write(render(PAGE.read_text()))
