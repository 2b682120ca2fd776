"""Pairing from both ends, and someone in the middle."""

import contextlib
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripted_phone import ScriptedPhone
from support.streams import Worker, stream_pair

from phone_link.at.client import AtClient
from phone_link.at.cme import check
from phone_link.at.codec import parse_values
from phone_link.at.server import AtServer
from phone_link.at.types import Response
from phone_link.channel.client import SecureCommander, handshake, prepare
from phone_link.channel.noise import Pattern, generate_private, public_of
from phone_link.channel.server import ChannelServer
from phone_link.errors import (
    LinkError,
    PairingMismatch,
    PairingRefused,
    PhoneError,
    ProtocolError,
    UserRefused,
)
from phone_link.host.identity import HostIdentity
from phone_link.host.pair import pair
from phone_link.host.session import PhoneSession
from phone_link.pairing.code import commitment, commitment_fits, pairing_code
from phone_link.pairing.computer import agree


@pytest.fixture
def identity(tmp_path):
    return HostIdentity.load_or_create(tmp_path / "identity")


def run_pair(phone, identity, confirm=lambda code: True, name=None, computer_name="Büro"):
    with stream_pair() as (computer, other), phone.serving(other):
        return pair(computer, identity, computer_name, "unix:/p", confirm, name)


@given(
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
)
def test_the_code_is_the_documented_arithmetic(h, na, nb):
    digest = hashlib.sha256(b"phonevault v1 pairing code" + h + na + nb).digest()
    code = pairing_code(h, na, nb)
    assert len(code) == 6 and int(code) == int.from_bytes(digest[:8], "big") % 1_000_000
    committed = commitment(na, h)
    assert committed == hmac.new(na, b"phonevault v1 pairing commit" + h, "sha256").digest()
    assert commitment_fits(committed, na, h)
    assert not commitment_fits(committed, nb, h) or na == nb
    assert not commitment_fits(committed, na + b"\0", h)


def test_both_screens_show_the_same_code_and_both_sides_know_each_other(rsa_key, identity):
    phone = ScriptedPhone(rsa_key)
    shown = []
    paired = run_pair(phone, identity, lambda code: shown.append(code) or True)
    assert shown == [phone.code] and len(phone.code) == 6
    assert phone.computer_name == "Büro"
    assert list(phone.peers.values()) == [identity.public]
    assert paired.static_public == public_of(phone.private)
    assert (paired.name, paired.spec) == ("Scripted phone", "unix:/p")
    assert paired.public_key_der == phone.der
    assert paired.fingerprint == hashlib.sha256(phone.der).hexdigest()
    with stream_pair() as (computer, other), phone.serving(other):
        PhoneSession.open(computer, identity, paired, 5).ping(5)


def test_every_pairing_has_another_code(rsa_key, identity):
    codes = set()
    for _ in range(4):
        phone = ScriptedPhone(rsa_key)
        run_pair(phone, identity)
        codes.add(phone.code)
    assert len(codes) > 1


def test_a_name_given_here_counts(rsa_key, identity):
    assert run_pair(ScriptedPhone(rsa_key), identity, name="mine").name == "mine"


def test_a_phone_without_a_key_makes_one(rsa_key, identity):
    phone = ScriptedPhone(None)
    phone.key_to_generate = rsa_key
    paired = run_pair(phone, identity)
    assert paired.public_key_der == phone.der
    assert "*PGENKP" in [command.name for command in phone.commands]


def test_the_computers_user_says_no(rsa_key, identity):
    phone = ScriptedPhone(rsa_key)
    with pytest.raises(PairingRefused, match="on this computer"):
        run_pair(phone, identity, lambda code: False)
    assert phone.peers == {}


def test_the_phones_user_says_no(rsa_key, identity):
    phone = ScriptedPhone(rsa_key)
    phone.user_agrees = False
    with pytest.raises(PairingRefused, match="refused on the phone"):
        run_pair(phone, identity)
    assert phone.peers == {} and phone.commands == []


def test_nobody_answers_on_the_phone(rsa_key, identity):
    phone = ScriptedPhone(rsa_key)
    phone.user_agrees = None
    with pytest.raises(PairingRefused, match="nobody answered"):
        run_pair(phone, identity)
    assert phone.peers == {} and phone.commands == []


def test_a_phone_that_does_not_pair_now(rsa_key, identity):
    phone = ScriptedPhone(rsa_key)
    phone.accepts_pairing = False
    with pytest.raises(PairingRefused, match="does not accept"):
        run_pair(phone, identity)
    assert phone.code == ""


@pytest.mark.parametrize("name", ["", "two\nlines", "x" * 65, " blank"])
def test_names_that_would_fool_a_reader(rsa_key, identity, name):
    phone = ScriptedPhone(rsa_key)
    with pytest.raises(ProtocolError):
        run_pair(phone, identity, computer_name=name)
    assert phone.code == "" and phone.peers == {}


# The phone's side, step by step


@pytest.fixture
def pairing_line(rsa_key, identity):
    """An XX channel to a phone, and the hash of its handshake."""
    phone = ScriptedPhone(rsa_key)
    with stream_pair() as (computer, other), phone.serving(other):
        outer = AtClient(computer)
        limits = prepare(outer, 5)
        established = handshake(outer, Pattern.XX, identity.private, None, 5)
        yield phone, SecureCommander(outer, established, limits), established.handshake_hash


NA = bytes(range(32))


def reveal(nonce):
    return f'*PPAIR=2,"{nonce.hex().upper()}","computer"'


def commit(nonce, h):
    return f'*PPAIR=1,"{commitment(nonce, h).hex().upper()}"'


def test_a_commitment_that_is_not_kept_ends_the_pairing(pairing_line):
    phone, inner, h = pairing_line
    check(inner.command(commit(NA, h), 5))
    with pytest.raises(PairingMismatch):
        check(inner.command(reveal(bytes(32)), 5))
    for line in (reveal(NA), commit(NA, h), "*PPAIR=3"):
        with pytest.raises(PhoneError):
            check(inner.command(line, 5))
    assert phone.code == "" and phone.peers == {}


STEPS_OUT_OF_TURN = [
    ["*PPAIR=3"],
    [reveal(NA)],
    ["commit", "*PPAIR=3"],
    ["commit", "commit"],
    ["*PPAIR=4"],
    ["*PPAIR=0"],
    ["commit", "reveal", "reveal"],
    ['*PPAIR=1,"00"'],
    ["*PPAIR?"],
    ["commit", "reveal", '*PPAIR=3,"x"'],
    ["*PDEC=1"],
]


@pytest.mark.parametrize("steps", STEPS_OUT_OF_TURN)
def test_steps_out_of_turn_store_nothing(pairing_line, steps):
    phone, inner, h = pairing_line
    words = {"commit": commit(NA, h), "reveal": reveal(NA)}
    with pytest.raises(PhoneError):
        for step in steps:
            check(inner.command(words.get(step, step), 5))
    with pytest.raises(PhoneError):
        check(inner.command("*PPAIR=3", 5))
    assert phone.peers == {} and phone.commands == []


def test_a_commitment_of_another_handshake_is_worth_nothing(pairing_line):
    phone, inner, _ = pairing_line
    check(inner.command(commit(NA, bytes(32)), 5))
    with pytest.raises(PairingMismatch):
        check(inner.command(reveal(NA), 5))
    assert phone.code == ""


# Someone in the middle: one XX handshake with each side


class Mallory:
    """Plays the phone towards the computer and the computer towards the phone, and relays what helps."""

    def __init__(self, to_phone, to_computer):
        self._to_computer = to_computer
        self.private = generate_private()
        outer = AtClient(to_phone)
        limits = prepare(outer, 5)
        established = handshake(outer, Pattern.XX, self.private, None, 5)
        self.inner = SecureCommander(outer, established, limits)
        self.phone_hash = established.handshake_hash
        self.computer_hash = b""
        self.commitment = b""
        self.nonce_a = b""

    def serve(self):
        channel = ChannelServer(
            self.private, lambda peer: None, self._refuse, handler_for_pairing=self._pairing
        )
        server = AtServer(self._to_computer, channel)
        channel.attach(server)
        server.serve()

    def _refuse(self, context):
        raise UserRefused

    def _pairing(self, context):
        self.computer_hash = context.handshake_hash
        return self.answer

    def answer(self, command):
        step = command.arguments[0].integer()
        if step == 1:
            self.commitment = command.arguments[1].hex_bytes()
            return self.on_commitment()
        if step == 2:
            self.nonce_a = command.arguments[1].hex_bytes()
            return self.on_reveal()
        return Response()

    def on_commitment(self):
        """Relay the computer's commitment as one's own."""
        line = f'*PPAIR=1,"{self.commitment.hex().upper()}"'
        return Response((f"*PPAIR: {check(self.inner.command(line, 5)).tagged('*PPAIR')[0]}",))

    def on_reveal(self):
        check(self.inner.command(reveal(self.nonce_a), 5))
        return Response(('*PPAIR: "Scripted phone"',))


class OwnNonces(Mallory):
    """Commits to a nonce of its own towards the phone before it has seen anything, as it must."""

    def on_commitment(self):
        self.own_a = b"\x11" * 32
        answer = check(self.inner.command(commit(self.own_a, self.phone_hash), 5)).tagged("*PPAIR")[0]
        self.nonce_b = parse_values(answer)[0].hex_bytes()
        return Response((f'*PPAIR: "{self.nonce_b.hex().upper()}"',))

    def on_reveal(self):
        check(self.inner.command(reveal(self.own_a), 5))
        return Response(('*PPAIR: "Scripted phone"',))


class LateCommitment(OwnNonces):
    """Searches for a nonce that makes the codes agree, once both of the others are known."""

    def on_reveal(self):
        target = pairing_code(self.computer_hash, self.nonce_a, self.nonce_b)
        for number in range(3_000_000):
            fitting = number.to_bytes(32, "big")
            if pairing_code(self.phone_hash, fitting, self.nonce_b)[:2] == target[:2]:
                break
        check(self.inner.command(reveal(fitting), 5))
        return Response(('*PPAIR: "Scripted phone"',))


@pytest.mark.parametrize("attack", [Mallory, OwnNonces, LateCommitment])
def test_someone_in_the_middle_is_never_stored(rsa_key, identity, attack):
    """The user compares: what the computer would show is not what the phone shows, if that shows anything."""
    phone = ScriptedPhone(rsa_key)
    seen = []

    def compare(code):
        seen.append(code)
        return code == phone.code

    with (
        stream_pair() as (computer, mallory_left),
        stream_pair() as (mallory_right, other),
        phone.serving(other),
    ):
        mallory = attack(mallory_right, mallory_left)
        worker = Worker(mallory.serve)
        outer = AtClient(computer)
        limits = prepare(outer, 5)
        established = handshake(outer, Pattern.XX, identity.private, None, 5)
        assert established.handshake_hash != mallory.phone_hash
        with pytest.raises((PairingRefused, PairingMismatch, LinkError, PhoneError)):
            agree(
                SecureCommander(outer, established, limits), established.handshake_hash, "computer", compare
            )
        outer.close()
        with contextlib.suppress(LinkError):
            worker.join()
        assert phone.peers == {}
        if attack is OwnNonces:
            assert len(seen) == 1 and phone.code not in ("", seen[0])
        else:
            assert phone.code == "" and seen == []  # the phone saw the broken commitment
