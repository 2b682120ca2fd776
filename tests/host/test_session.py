import threading

import pytest
from support.scripted_phone import OAEP, ScriptedPhone
from support.streams import Worker, stream_pair

from phone_link.at.types import Response
from phone_link.errors import (
    ChannelError,
    DecryptFailed,
    KeyNotFound,
    LinkClosed,
    LinkError,
    LinkTimeout,
    PhoneAbsent,
    PinIncorrect,
    PinRequired,
    ProtocolError,
    UnknownPeer,
    UserRefused,
)
from phone_link.host.connect import connect_phone
from phone_link.host.identity import HostIdentity
from phone_link.host.session import PhoneSession
from phone_link.transport import listen
from phone_link.transport.faults import Faults, FaultyStream

SECRET = b"a slot secret of thirty-two byte"


@pytest.fixture
def identity(tmp_path):
    return HostIdentity.load_or_create(tmp_path / "identity")


@pytest.fixture
def phone(rsa_key, identity):
    phone = ScriptedPhone(rsa_key)
    phone.know(identity.public)
    return phone


@pytest.fixture
def session(phone, identity):
    with stream_pair() as (computer, other), phone.serving(other) as channel:
        session = PhoneSession.open(computer, identity, phone.paired(), 5)
        session.channel = channel
        yield session
        session.close()


@pytest.fixture
def ciphertext(rsa_key):
    return rsa_key.public_key().encrypt(SECRET, OAEP)


def test_decrypting(session, phone, ciphertext):
    fingerprint = phone.paired().fingerprint
    for _ in range(2):
        plaintext = session.decrypt(fingerprint, ciphertext, 'unlock "häuschen"\n')
        assert isinstance(plaintext, bytearray) and plaintext == SECRET
    names = [command.name for command in phone.commands]
    assert names == ["*POPEN", "*PFIND", "*PREASON", "*PDEC", "*PREASON", "*PDEC"]
    assert phone.commands[2].arguments[0].string() == 'unlock "häuschen" '


def test_a_long_reason_is_cut(session, phone, ciphertext):
    session.decrypt(phone.paired().fingerprint, ciphertext, "x" * 500)
    assert phone.commands[2].arguments[0].string() == "x" * 128


def test_a_key_without_a_fingerprint_for_an_id(session, phone, ciphertext):
    phone.named_by_number = True
    assert session.decrypt(phone.paired().fingerprint, ciphertext, "test") == SECRET


def test_the_pin_is_asked_for_once_on_the_phone(session, phone, ciphertext):
    phone.logged_in = False
    assert session.decrypt(phone.paired().fingerprint, ciphertext, "test") == SECRET
    logins = [command for command in phone.commands if command.name == "*PLOGIN"]
    assert [len(login.arguments) for login in logins] == [2]


def test_a_phone_where_nobody_types_the_pin(session, phone, ciphertext):
    phone.logged_in = False

    def nobody(command):
        raise PinRequired

    phone.on_plogin = nobody
    with pytest.raises(PinRequired):
        session.decrypt(phone.paired().fingerprint, ciphertext, "test")
    session.ping(5)


def test_a_pin_from_the_computer(session, phone):
    phone.logged_in = False
    pin = bytearray(b"9999")
    with pytest.raises(PinIncorrect) as caught:
        session.login(pin)
    assert caught.value.tries_left == 2 and "9999" not in str(caught.value)
    assert pin == b"9999"
    session.login(bytearray(b"1234"))
    session.login(bytearray(b"1234"))
    session.ping(5)


@pytest.mark.parametrize("pin", [b"\xff\xfe", b""])
def test_odd_pins(session, phone, pin):
    phone.logged_in = False
    with pytest.raises((ProtocolError, PinIncorrect)):
        session.login(bytearray(pin))
    session.ping(5)


def test_refusals_and_wrong_ciphertexts_keep_the_session(session, phone, ciphertext):
    fingerprint = phone.paired().fingerprint
    with pytest.raises(DecryptFailed):
        session.decrypt(fingerprint, bytes(256), "test")
    with pytest.raises(KeyNotFound):
        session.decrypt("00" * 32, ciphertext, "test")
    phone.user_agrees = False
    with pytest.raises(UserRefused):
        session.decrypt(fingerprint, ciphertext, "test")
    phone.user_agrees = True
    assert session.decrypt(fingerprint, ciphertext, "test") == SECRET


@pytest.mark.parametrize(
    "line", ['*PDEC: "0a"', '*PDEC: "ABC"', '*PDEC: ""', "*PDEC: 12", '*PDEC: "AB', "*PDECX: 1"]
)
def test_a_malformed_plaintext_is_a_protocol_error(session, phone, ciphertext, line):
    phone.on_pdec = lambda command: Response((line,))
    with pytest.raises(ProtocolError):
        session.decrypt(phone.paired().fingerprint, ciphertext, "test")


def test_locks_arrive_between_commands_and_while_waiting(session, phone, ciphertext):
    locks = []
    session.on_lock(lambda: locks.append(1))
    session.channel.send_unsolicited("*PLOCKEV: 1")
    session.ping(5)
    session.channel.send_unsolicited("*PLOCKEV: 0")
    session.channel.send_unsolicited("*PLOCKEV: 1")
    session.wait(0.2)
    phone.events = ["*PLOCKEV: 1"]
    assert session.decrypt(phone.paired().fingerprint, ciphertext, "test") == SECRET
    assert len(locks) == 2 + len(phone.commands)


def test_random_bytes_and_description(session, phone):
    assert session.random(600) == b"\x5a" * 600
    assert session.random(0) == b""
    info = session.info()
    assert (info.name, info.version, info.model, info.label) == ("Scripted phone", "1.0", "model", "label")
    assert info.pin_locked and info.pin_tries_left == 0


def test_a_phone_that_stops_answering(phone, identity):
    with stream_pair() as (computer, other), phone.serving(other):
        session = PhoneSession.open(computer, identity, phone.paired(), 5)
        awake = threading.Event()

        def hang(command):
            awake.wait(10)
            return Response()

        phone.on_pdec = hang
        with pytest.raises(LinkTimeout):
            session.decrypt(phone.paired().fingerprint, bytes(256), "test", 0.05)
        with pytest.raises(LinkClosed):
            session.ping(1)
        awake.set()


def test_the_end_of_the_phone_is_seen_while_waiting(phone, identity):
    with stream_pair() as (computer, other):
        with phone.serving(other):
            session = PhoneSession.open(computer, identity, phone.paired(), 5)
        with pytest.raises(LinkClosed):
            session.wait(5)
        with pytest.raises(LinkClosed):
            session.ping(5)


@pytest.mark.parametrize("stranger", ["computer", "phone"])
def test_strangers(phone, identity, tmp_path, stranger, rsa_key):
    with stream_pair() as (computer, other):
        if stranger == "computer":
            identity = HostIdentity.load_or_create(tmp_path / "other")
            with phone.serving(other), pytest.raises(UnknownPeer, match="does not know"):
                PhoneSession.open(computer, identity, phone.paired(), 5)
        else:
            impostor = ScriptedPhone(rsa_key)
            impostor.know(identity.public)
            with impostor.serving(other), pytest.raises(LinkError):
                PhoneSession.open(computer, identity, phone.paired(), 5)
            assert isinstance(impostor.errors[0], ChannelError)
        with pytest.raises(LinkClosed):
            computer.read(0)


@pytest.mark.parametrize("drop_after", range(0, 400, 23))
def test_a_link_that_dies_anywhere_is_a_link_error(phone, identity, drop_after, ciphertext):
    with stream_pair() as (computer, other), phone.serving(other):
        faulty = FaultyStream(computer, Faults(drop_after=drop_after))
        with pytest.raises(LinkError):
            session = PhoneSession.open(faulty, identity, phone.paired(), 5)
            session.decrypt(phone.paired().fingerprint, ciphertext, "test")
        with pytest.raises(LinkClosed):
            faulty.write(b"x")


@pytest.mark.parametrize("position", range(0, 900, 37))
def test_a_garbled_byte_is_a_link_error_or_harmless(phone, identity, position, ciphertext):
    faults = Faults(garble=lambda at, byte: byte ^ 0x15 if at == position else byte)
    with stream_pair() as (computer, other), phone.serving(other):
        try:
            session = PhoneSession.open(FaultyStream(computer, faults), identity, phone.paired(), 0.3)
            assert session.decrypt(phone.paired().fingerprint, ciphertext, "test", 0.3) == SECRET
        except LinkError:
            pass


def test_bytes_one_by_one(phone, identity, ciphertext):
    with stream_pair() as (computer, other), phone.serving(other):
        session = PhoneSession.open(FaultyStream(computer, Faults(chunk=1)), identity, phone.paired(), 5)
        assert session.decrypt(phone.paired().fingerprint, ciphertext, "test") == SECRET


def test_connecting_to_a_phone_that_is_there_or_not(phone, identity, tmp_path):
    spec = f"unix:{tmp_path}/phone"
    with pytest.raises(PhoneAbsent, match="no phone at"):
        connect_phone(phone.paired(spec), identity)
    listener = listen(spec)
    try:
        session_phone = phone.paired(spec)
        opening = Worker(lambda: connect_phone(session_phone, identity, 5))
        with phone.serving(listener.accept(5)):
            session = opening.join()
            session.ping(5)
            session.close()
            session.close()
    finally:
        listener.close()


def test_a_listener_that_says_nothing(phone, identity, tmp_path):
    listener = listen(f"unix:{tmp_path}/phone")
    try:
        with pytest.raises(LinkTimeout):
            connect_phone(phone.paired(listener.spec), identity, 0.05)
    finally:
        listener.close()
