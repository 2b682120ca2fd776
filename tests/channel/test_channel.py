import threading

import pytest
from support.scripted_phone import ScriptedPhone
from support.streams import stream_pair

from phone_link.at.client import AtClient
from phone_link.at.types import CmeError, Response
from phone_link.channel.client import SecureCommander, handshake, prepare
from phone_link.channel.noise import Pattern, generate_private, public_of
from phone_link.errors import ChannelError, LinkClosed, LinkError, ProtocolError, UnknownPeer, UserRefused

COMPUTER = generate_private()


class EchoPhone(ScriptedPhone):
    def answer(self, context, command):
        for event in self.events:
            context.send_unsolicited(event)
        return Response(tuple(f"*PECHO: {argument.string()}" for argument in command.arguments))


class Tamper:
    """A stream whose lines with `mark` go through `change`, on their way to the computer or to the phone."""

    def __init__(self, stream, incoming=None, outgoing=None):
        self._stream, self._incoming, self._outgoing = stream, incoming, outgoing

    def read(self, timeout_s):
        data = self._stream.read(timeout_s)
        return self._incoming(data) if self._incoming else data

    def write(self, data):
        self._stream.write(self._outgoing(data) if self._outgoing else data)

    def close(self):
        self._stream.close()


@pytest.fixture
def phone():
    phone = EchoPhone(None)
    phone.know(public_of(COMPUTER))
    return phone


def open_channel(stream, phone):
    outer = AtClient(stream)
    limits = prepare(outer, 5)
    return SecureCommander(outer, handshake(outer, Pattern.KK, COMPUTER, public_of(phone.private), 5), limits)


@pytest.fixture
def commander(phone):
    with stream_pair() as (computer, other), phone.serving(other):
        commander = open_channel(computer, phone)
        yield commander
        commander.close()


def test_commands_and_answers(commander):
    assert commander.command("", 5) == Response()
    assert commander.command('*PECHO="a";*PECHO="b"', 5) == Response(("*PECHO: a", "*PECHO: b"))


@pytest.mark.parametrize("max_line", [256, 300, 4096])
def test_long_commands_and_answers_are_fragmented(phone, max_line):
    with stream_pair() as (computer, other), phone.serving(other, max_line=max_line):
        commander = open_channel(computer, phone)
        text = "x" * 16000
        assert commander.command(f'*PECHO="{text}"', 10).tagged("*PECHO") == (text,)
        with pytest.raises(ProtocolError, match="too long"):
            commander.command("x" * 16390, 10)
        assert commander.command("", 5).ok


def test_an_answer_that_is_too_long_is_an_error_inside(commander, phone):
    phone.answer = lambda context, command: Response(("*P: " + "x" * 70_000,))
    assert commander.command("*PX", 5) == Response((), CmeError(100))
    assert commander.command("", 5).ok


def test_an_inner_error_keeps_the_channel(commander, phone):
    def refuse(context, command):
        raise UserRefused

    phone.answer = refuse
    assert commander.command("*PX", 5) == Response(("*PERR: 200",), CmeError(3))
    assert commander.command("*", 5).ok is False
    assert commander.command("", 5).ok


def test_unsolicited_results_at_any_moment(phone):
    heard = []
    with stream_pair() as (computer, other), phone.serving(other) as channel:
        commander = open_channel(computer, phone)
        commander.on_unsolicited("*PLOCKEV", heard.append)
        channel.send_unsolicited("*PLOCKEV: 1")
        phone.events = ["*PLOCKEV: 2", "*POTHER: 1"]
        assert commander.command('*PECHO="x"', 5).ok
        phone.events = []
        channel.send_unsolicited("*PLOCKEV: 3")
        commander.poll(0.2)
        assert commander.command("", 5).ok
        assert heard == ["1", "2", "3"]


def test_unsolicited_results_from_another_thread_during_many_commands(phone):
    heard = []
    with stream_pair() as (computer, other), phone.serving(other) as channel:
        commander = open_channel(computer, phone)
        commander.on_unsolicited("*PLOCKEV", heard.append)
        sender = threading.Thread(
            target=lambda: [channel.send_unsolicited(f"*PLOCKEV: {i}") for i in range(100)]
        )
        sender.start()
        while len(heard) < 100:
            assert commander.command('*PECHO="x"', 5).ok
        sender.join()
        assert heard == [str(i) for i in range(100)]


def test_outside_the_channel_nothing_else_works(phone):
    with stream_pair() as (computer, other), phone.serving(other):
        outer = AtClient(computer)
        limits = prepare(outer, 5)
        assert limits.max_line == 4096
        assert outer.command("*PCFG=1", 5).ok
        assert not outer.command("*PCFG=2", 5).ok
        assert outer.command("I", 5).ok
        for line in ("*PINFO?", '*PECHO="x"', '*PMSG=1,"AA=="', "*PLOGIN=1,1", "*PPAIR=1"):
            assert outer.command(line, 5).final == CmeError(3)
        assert outer.command("", 5).ok
        assert phone.commands == []


def test_an_unknown_computer(phone):
    with stream_pair() as (computer, other), phone.serving(other):
        outer = AtClient(computer)
        prepare(outer, 5)
        with pytest.raises(UnknownPeer):
            handshake(outer, Pattern.KK, generate_private(), public_of(phone.private), 5)


def test_a_computer_that_names_another_ones_id(phone):
    """Mallory's messages under the victim's id: the static keys do not fit."""
    import phone_link.channel.client as client

    with stream_pair() as (computer, other), phone.serving(other), pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "peer_id", lambda _: next(iter(phone.peers)))
        outer = AtClient(computer)
        prepare(outer, 5)
        for pattern, remote in ((Pattern.XX, None),):
            with pytest.raises((LinkError,)):
                handshake(outer, pattern, generate_private(), remote, 5)
    assert isinstance(phone.errors[0], ChannelError)


def test_a_wrong_phone_is_noticed(phone):
    with stream_pair() as (computer, other), phone.serving(other):
        outer = AtClient(computer)
        prepare(outer, 5)
        with pytest.raises(LinkError):
            handshake(outer, Pattern.KK, COMPUTER, public_of(generate_private()), 5)
    assert isinstance(phone.errors[0], ChannelError)


def test_something_that_is_no_phonevault_phone(phone):
    from phone_link.at.server import AtServer

    with stream_pair() as (computer, other):
        server = AtServer(other, lambda command: Response())
        thread = threading.Thread(target=server.serve)
        thread.start()
        with pytest.raises(ProtocolError, match="no phonevault phone"):
            prepare(AtClient(computer), 5)
        computer.close()
        thread.join(5)


def flip(mark, count=1):
    """Change a base64 character after `mark`, the `count`-th time it comes by."""
    seen = 0

    def change(data):
        nonlocal seen
        at = data.find(mark)
        if at < 0:
            return data
        seen += 1
        at += len(mark) + 5
        return (
            data[:at] + (b"B" if data[at : at + 1] == b"A" else b"A") + data[at + 1 :]
            if seen == count
            else data
        )

    return change


def replay(mark):
    """Send the first line with `mark` again in place of the second."""
    lines = []

    def change(data):
        if mark not in data:
            return data
        lines.append(data)
        return lines[0]

    return change


@pytest.mark.parametrize(
    "tamper",
    [
        {"incoming": flip(b"*PMSG: 1,")},
        {"incoming": replay(b"*PMSG: 1,")},
        {"outgoing": flip(b"*PMSG=1,")},
        {"outgoing": replay(b"*PMSG=1,")},
        {"incoming": lambda data: data.replace(b"*PMSG: 1,", b"*PMSG: 0,")},
        {"incoming": lambda data: data.replace(b"*PMSG: 1,", b"*PXXX: 1,")},
        {"incoming": lambda data: b"\r\n+CME ERROR: 3\r\n" if b"*PMSG: " in data else data},
    ],
)
def test_meddling_with_messages_is_a_channel_error_and_closes_the_link(phone, tamper):
    with stream_pair() as (computer, other), phone.serving(other):
        commander = open_channel(Tamper(computer, **tamper), phone)
        with pytest.raises((ChannelError, ProtocolError)) as caught:
            for _ in range(2):
                commander.command('*PECHO="x"', 5)
        assert isinstance(caught.value, ChannelError) or "message" in str(caught.value)
        with pytest.raises(LinkClosed):
            commander.command("", 5)
        with pytest.raises(LinkError):
            commander.poll(0)


def test_a_forged_or_replayed_unsolicited_result_closes_the_link(phone):
    with stream_pair() as (computer, other), phone.serving(other) as channel:
        commander = open_channel(Tamper(computer, incoming=replay(b"*PMSGEV: ")), phone)
        heard = []
        commander.on_unsolicited("*PLOCKEV", heard.append)
        channel.send_unsolicited("*PLOCKEV: 1")
        commander.poll(0.1)
        channel.send_unsolicited("*PLOCKEV: 2")
        with pytest.raises(ChannelError):
            commander.poll(5)
        assert heard == ["1"]
        with pytest.raises(LinkError):
            commander.command("", 5)


def test_a_second_handshake_replaces_the_first_channel(phone):
    with stream_pair() as (computer, other), phone.serving(other):
        outer = AtClient(computer)
        limits = prepare(outer, 5)
        for _ in range(2):
            established = handshake(outer, Pattern.KK, COMPUTER, public_of(phone.private), 5)
            assert SecureCommander(outer, established, limits).command("", 5).ok


def test_the_end_of_the_link_ends_an_unsolicited_result(phone):
    with stream_pair() as (computer, other), phone.serving(other) as channel:
        with pytest.raises(LinkClosed):
            channel.send_unsolicited("*PLOCKEV: 1")
        commander = open_channel(computer, phone)
        commander.close()
    with pytest.raises(LinkClosed):
        channel.send_unsolicited("*PLOCKEV: 1")
