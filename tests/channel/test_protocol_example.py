"""docs/protocol-example.md: phonevault's computer and a phone written from the documents say what the page says."""

import re

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from support import protocol_example as example
from support.independent_phone import IndependentPhone
from support.streams import Worker, stream_pair

from phone_link.channel.noise import generate_private, public_of
from phone_link.cryptoki import CKA
from phone_link.errors import HeaderForked, HeaderRolledBack, VaultSubstituted
from phone_link.host.anchor import Seen
from phone_link.host.identity import HostIdentity
from phone_link.host.pair import pair
from phone_link.host.session import PhoneSession

TEXT = example.PAGE.read_text()


def test_the_page_is_what_is_said():
    session = example.run(TEXT)
    assert example.render(TEXT) == TEXT
    assert session.handshake_hash.hex().upper() == example.word("handshake hash", TEXT)
    assert session.code == example.word("code", TEXT)
    assert session.fingerprint.upper() == example.word("fingerprint", TEXT)
    assert session.secret == example.SLOT_SECRET
    assert len(session.parts[2]) > 10


def test_the_public_keys_of_the_page():
    keys = re.findall(r"\| `([0-9]{2})` \| `([0-9A-F]{64})` \|", TEXT)
    ours = [example.COMPUTER, example.PHONE] + [key for pair in example.EPHEMERALS.values() for key in pair]
    assert [bytes.fromhex(private) * 32 for private, _ in keys] == ours
    for private, public in zip(ours, (public for _, public in keys), strict=True):
        raw = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
        assert raw.hex().upper() == public


def test_with_fresh_keys_too():
    phone = IndependentPhone(rsa.generate_private_key(65537, 2048))
    private = generate_private()
    identity = HostIdentity(private, public_of(private))
    codes = []
    with stream_pair() as (computer, other):
        worker = Worker(lambda: phone.serve(other))
        paired = pair(computer, identity, "laptop", "tcp:x:1", lambda code: not codes.append(code))
        worker.join()
    assert codes == [phone.code]
    with stream_pair() as (computer, other):
        worker = Worker(lambda: phone.serve(other))
        session = PhoneSession.open(computer, identity, paired)
        session.ping(5)
        vault, tag = bytes(16), bytes(32)
        assert session.show_header(vault, 5, bytes(32)) is Seen.UNKNOWN
        assert session.remember_header(vault, 5, bytes(32), tag)
        assert session.show_header(vault, 5, bytes(32)) is Seen.KNOWN
        assert session.show_header(vault, 6, bytes(32)) is Seen.NEWER
        with pytest.raises(HeaderRolledBack):
            session.show_header(vault, 4, bytes(32))
        with pytest.raises(HeaderForked):
            session.remember_header(vault, 5, b"1" * 32, tag)
        with pytest.raises(VaultSubstituted):
            session.remember_header(vault, 6, bytes(32), b"1" * 32)
        session.close()
        worker.join()


def test_the_numbers_of_the_commands_page_are_those_of_pkcs11():
    page = (example.PAGE.parent / "protocol-commands.md").read_text()
    row = re.search(r"^\| CKA \(attribute types\) \| (.*) \|$", page, re.MULTILINE)[1]
    listed = {name: int(number, 16) for name, number in re.findall(r"([A-Z_]+) ([0-9A-F]+)", row)}
    assert len(listed) == 16
    assert {name: CKA[name].value for name in listed} == listed
