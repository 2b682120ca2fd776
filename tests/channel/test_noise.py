import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phone_link.channel.noise import (
    MAX_PLAINTEXT_BYTES,
    Handshake,
    Pattern,
    generate_private,
    peer_id,
    public_of,
)
from phone_link.errors import ChannelError

COMPUTER, PHONE, MALLORY = generate_private(), generate_private(), generate_private()


def handshakes(pattern, computer=COMPUTER, phone=PHONE, computer_knows=PHONE, phone_knows=COMPUTER):
    kk = pattern is Pattern.KK
    phone_pin, computer_pin = public_of(computer_knows), public_of(phone_knows)
    return (
        Handshake(pattern, initiator=True, private=computer, remote_static=phone_pin if kk else None),
        Handshake(pattern, initiator=False, private=phone, remote_static=computer_pin if kk else None),
    )  # fmt: skip


def run(left, right):
    while not left.finished or not right.finished:
        right.read(left.write())
        left, right = right, left


def established(pattern=Pattern.KK):
    left, right = handshakes(pattern)
    run(left, right)
    return left.establish(), right.establish()


@pytest.mark.parametrize("pattern", list(Pattern))
def test_both_sides_agree_and_know_each_other(pattern):
    left, right = established(pattern)
    assert left.handshake_hash == right.handshake_hash and len(left.handshake_hash) == 32
    assert left.remote_static == public_of(PHONE)
    assert right.remote_static == public_of(COMPUTER)
    assert right.transport.decrypt(left.transport.encrypt(b"to the phone")) == b"to the phone"
    assert left.transport.decrypt(right.transport.encrypt(bytearray(b"back"))) == b"back"


def test_two_handshakes_never_share_a_hash():
    assert established()[0].handshake_hash != established()[0].handshake_hash


@pytest.mark.parametrize(
    "wrong",
    [{"computer": MALLORY}, {"phone": MALLORY}, {"computer_knows": MALLORY}, {"phone_knows": MALLORY}],
)
def test_kk_fails_between_peers_that_do_not_know_each_other(wrong):
    left, right = handshakes(Pattern.KK, **wrong)
    with pytest.raises(ChannelError):
        run(left, right)


@pytest.mark.parametrize("pattern", list(Pattern))
def test_a_changed_handshake_message_is_noticed(pattern):
    for position in range(0, 96, 7):
        left, right = handshakes(pattern)
        with pytest.raises(ChannelError):
            right.read(left.write())
            answer = bytearray(right.write())
            answer[position % len(answer)] ^= 1
            left.read(bytes(answer))


@settings(max_examples=50)
@given(st.binary(max_size=120))
def test_garbage_ends_a_handshake(message):
    _, right = handshakes(Pattern.KK)
    with pytest.raises(ChannelError):
        right.read(message)
    with pytest.raises(ChannelError):
        right.establish()


def test_an_all_zero_ephemeral_key_is_refused():
    _, right = handshakes(Pattern.KK)
    with pytest.raises(ChannelError):
        right.read(bytes(48))


def test_a_payload_in_a_handshake_is_refused():
    left, right = handshakes(Pattern.XX)
    with pytest.raises(ChannelError):
        right.read(left.write() + b"early data")


def test_a_malformed_key_is_a_channel_error():
    with pytest.raises(ChannelError):
        Handshake(Pattern.KK, initiator=True, private=b"short", remote_static=public_of(PHONE))
    with pytest.raises(ChannelError):
        Handshake(Pattern.KK, initiator=True, private=COMPUTER)


def spoil_replay(first, second):
    return [first, first]


def spoil_reorder(first, second):
    return [second, first]


def spoil_drop(first, second):
    return [second]


def spoil_truncate(first, second):
    return [first[:-1]]


def spoil_bit(first, second):
    return [bytes([first[0] ^ 1]) + first[1:]]


def spoil_empty(first, second):
    return [b""]


@pytest.mark.parametrize(
    "spoil", [spoil_replay, spoil_reorder, spoil_drop, spoil_truncate, spoil_bit, spoil_empty]
)
def test_any_meddling_kills_the_channel_for_good(spoil):
    left, right = established()
    messages = [left.transport.encrypt(b"one"), left.transport.encrypt(b"two")]
    with pytest.raises(ChannelError):
        for message in spoil(*messages):
            right.transport.decrypt(message)
    with pytest.raises(ChannelError, match="failed before"):
        right.transport.decrypt(messages[0])
    with pytest.raises(ChannelError, match="failed before"):
        right.transport.encrypt(b"answer")


def test_a_message_of_one_session_or_direction_means_nothing_in_another():
    left, right = established()
    other, _ = established()
    with pytest.raises(ChannelError):
        right.transport.decrypt(other.transport.encrypt(b"x"))
    with pytest.raises(ChannelError):
        left.transport.decrypt(left.transport.encrypt(b"x"))


def test_the_longest_message():
    left, right = established()
    assert (
        len(right.transport.decrypt(left.transport.encrypt(bytes(MAX_PLAINTEXT_BYTES))))
        == MAX_PLAINTEXT_BYTES
    )
    with pytest.raises(ChannelError):
        left.transport.encrypt(bytes(MAX_PLAINTEXT_BYTES + 1))


def test_a_peer_id_is_the_documented_hash():
    import hashlib

    assert peer_id(b"k" * 32) == hashlib.sha256(b"phonevault v1 peer id" + b"k" * 32).digest()[:8]
