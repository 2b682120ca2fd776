import dataclasses
import stat
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from phone_link.errors import LinkError, ProtocolError, UnknownPhone
from phone_link.host.identity import HostIdentity
from phone_link.host.keys import fingerprint_of
from phone_link.host.phone_book import PairedPhone, PhoneBook


def phone(name, number=1):
    der = bytes([number]) * 40
    return PairedPhone(name, "unix:/p", bytes([number]) * 32, der, fingerprint_of(der), "2026-11-23")


def test_an_identity_is_made_once_private_and_matches_its_public_key(tmp_path):
    path = tmp_path / "config" / "identity"
    made = HostIdentity.load_or_create(path)
    assert HostIdentity.load_or_create(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert X25519PrivateKey.from_private_bytes(made.private).public_key().public_bytes_raw() == made.public
    assert made.private.hex() not in repr(made) and repr(made.private) not in repr(made)
    assert [file.name for file in path.parent.iterdir()] == ["identity"]


def test_programs_that_start_at_once_agree_on_one_identity(tmp_path):
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(HostIdentity.load_or_create(tmp_path / "identity")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4 and len(set(made)) == 1


@pytest.mark.parametrize("content", [b"", b"phonevault-identity v1 00\n", b"x" * (2 << 20)])
def test_a_damaged_identity_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "identity"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(LinkError):
        HostIdentity.load_or_create(path)
    assert path.read_bytes() == content


def test_an_identity_open_to_others_is_refused(tmp_path):
    HostIdentity.load_or_create(tmp_path / "identity")
    (tmp_path / "identity").chmod(0o644)
    with pytest.raises(LinkError, match="open to other users"):
        HostIdentity.load_or_create(tmp_path / "identity")


def test_phones_are_kept_found_and_forgotten(tmp_path):
    book = PhoneBook(tmp_path / "config")
    assert book.list() == []
    book.add(phone("b", 1))
    book.add(phone("a ä", 2))
    assert [known.name for known in PhoneBook(tmp_path / "config").list()] == ["a ä", "b"]
    assert book.get("b") == phone("b", 1)
    assert book.by_fingerprint(phone("a", 2).fingerprint.upper()) == phone("a ä", 2)
    book.forget("b")
    assert book.get(None) == phone("a ä", 2)
    assert stat.S_IMODE((tmp_path / "config" / "phones.json").stat().st_mode) == 0o600


def test_phones_that_are_not_there(tmp_path):
    book = PhoneBook(tmp_path)
    with pytest.raises(UnknownPhone, match="no phone is paired"):
        book.get(None)
    book.add(phone("a", 1))
    book.add(phone("b", 2))
    for action in (
        lambda: book.get(None),
        lambda: book.get("c"),
        lambda: book.forget("c"),
        lambda: book.by_fingerprint("00"),
    ):
        with pytest.raises(UnknownPhone):
            action()
    assert len(book.list()) == 2


def test_pairing_again_replaces_but_never_another_phone(tmp_path):
    book = PhoneBook(tmp_path)
    book.add(phone("a", 1))
    book.add(dataclasses.replace(phone("renamed", 1), spec="tcp:h:1"))
    assert [(known.name, known.spec) for known in book.list()] == [("renamed", "tcp:h:1")]
    with pytest.raises(LinkError, match="another paired phone"):
        book.add(phone("renamed", 2))
    with pytest.raises(ProtocolError):
        book.add(phone("two\nlines", 3))
    assert len(book.list()) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"version":2,"phones":[]}',
        b'{"version":1,"phones":[{}]}',
        b'{"version":1,"phones":[1]}',
        b'{"version":1,"phones":5}',
        b'{"version":1,"phones":[],"x":1}',
        b"\xff",
    ],
)
def test_a_damaged_book_is_said_to_be_damaged(tmp_path, content):
    path = tmp_path / "phones.json"
    path.write_bytes(content)
    path.chmod(0o600)
    for action in (PhoneBook(tmp_path).list, lambda: PhoneBook(tmp_path).add(phone("a"))):
        with pytest.raises(LinkError, match="is damaged"):
            action()
    assert path.read_bytes() == content


def test_a_changed_key_in_the_book_is_noticed(tmp_path):
    PhoneBook(tmp_path).add(phone("a", 1))
    path = tmp_path / "phones.json"
    path.write_bytes(path.read_bytes().replace(b"01" * 40, b"02" * 40))
    with pytest.raises(LinkError, match="is damaged"):
        PhoneBook(tmp_path).list()
