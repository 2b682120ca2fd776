import contextlib
import threading

import pytest
from support.streams import Worker, stream_pair

from phone_link.at.client import AtClient
from phone_link.at.cme import check
from phone_link.at.server import AtServer
from phone_link.at.types import ERROR, OK, CmeError, Form, Response
from phone_link.errors import (
    ChannelError,
    DecryptFailed,
    LinkClosed,
    LinkTimeout,
    PhoneError,
    PinIncorrect,
    PinLocked,
    ProtocolError,
    UnknownPeer,
    phone_error,
)


def answer(command):
    match command.name, command.form:
        case "*PECHO", Form.SET:
            return Response(tuple(f"*PECHO: {a.string()}" for a in command.arguments))
        case "*PFAIL", Form.SET:
            raise phone_error(command.arguments[0].hex_integer(), 2)
        case "*PBAD", _:
            command.argument(0).integer()
        case "*PEVIL", _:
            raise ChannelError("test")
    raise PhoneError(0x54)


@pytest.fixture
def line():
    with stream_pair() as (computer, phone):
        server = AtServer(phone, answer)
        worker = Worker(server.serve)
        client = AtClient(computer)
        yield client, server
        client.close()
        worker.join()


@pytest.fixture
def raw():
    """A computer that speaks bytes, and a phone."""
    with stream_pair() as (computer, phone):
        worker = Worker(AtServer(phone, answer).serve)
        yield computer
        computer.close()
        worker.join()


def exchange(stream, data, end):
    stream.write(data)
    received = b""
    while not received.endswith(end):
        received += stream.read(5)
    return received


def test_commands_work_with_echo_on_and_off(line):
    client, _ = line
    assert client.command('*PECHO="a","b"', 5) == Response(("*PECHO: a", "*PECHO: b"), OK)
    assert client.command("E0", 5).ok
    assert client.command('*PECHO="a"', 5).tagged("*PECHO") == ("a",)
    assert client.command("", 5) == Response((), OK)


def test_what_a_computer_sees_on_the_wire(raw):
    assert exchange(raw, b"AT\r", b"OK\r\n") == b"AT\r\r\nOK\r\n"
    assert exchange(raw, b"ATE0\r", b"OK\r\n") == b"ATE0\r\r\nOK\r\n"
    assert exchange(raw, b'AT*PECHO="x"\r', b"OK\r\n") == b"\r\n*PECHO: x\r\n\r\nOK\r\n"
    assert exchange(raw, b"ATV0\r", b"0\r") == b"0\r"
    assert exchange(raw, b'AT*PECHO="x"\r', b"0\r") == b"*PECHO: x\r\n0\r"
    assert exchange(raw, b"AT*PNO\r", b"4\r") == b"*PERR: 54\r\n4\r"
    assert exchange(raw, b"ATV1\r", b"OK\r\n") == b"\r\nOK\r\n"
    assert exchange(raw, b"AT+CMEE=2\r", b"OK\r\n") == b"\r\nOK\r\n"
    assert exchange(raw, b"AT*PNO\r", b"supported\r\n").endswith(
        b"\r\n+CME ERROR: operation not supported\r\n"
    )
    assert exchange(raw, b"AT+CMEE?\r", b"OK\r\n") == b"\r\n+CMEE: 2\r\n\r\nOK\r\n"
    assert exchange(raw, b"ATS3?\r", b"OK\r\n") == b"\r\n013\r\n\r\nOK\r\n"
    assert exchange(raw, b"AT*PECHO=\r", b"parameters\r\n").startswith(b"\r\n*PERR: 7\r\n")
    assert exchange(raw, b"AT\xff\r", b"ERROR\r\n") == b"\r\nERROR\r\n"
    assert exchange(raw, b"AT" + b"x" * 5000 + b"\r", b"ERROR\r\n") == b"\r\nERROR\r\n"
    assert exchange(raw, b"ATQ1\rATQ0\r", b"OK\r\n") == b"\r\nOK\r\n"
    assert exchange(raw, b"ATE2\r", b"ERROR\r\n") == b"\r\nERROR\r\n"
    assert exchange(raw, b"ATZ\rATI\r", b"OK\r\n").startswith(b"\r\nOK\r\n")


def test_a_line_stops_at_its_first_error(line):
    client, _ = line
    client.command("E0+CMEE=1", 5)
    response = client.command('*PECHO="1";*PNO;*PECHO="2"', 5)
    assert response == Response(("*PECHO: 1", "*PERR: 54"), CmeError(4))


@pytest.mark.parametrize(
    ("ckr", "error"),
    [
        ("A0", PinIncorrect),
        ("A4", PinLocked),
        ("40", DecryptFailed),
        ("80000001", UnknownPeer),
        ("5", PhoneError),
    ],
)
def test_errors_of_the_phone_arrive_as_exceptions(line, ckr, error):
    client, _ = line
    client.command("E0+CMEE=1", 5)
    with pytest.raises(error) as caught:
        check(client.command(f"*PFAIL={ckr}", 5))
    if error is PinIncorrect:
        assert caught.value.tries_left == 2


def test_an_error_without_a_reason_is_a_protocol_error():
    with pytest.raises(ProtocolError):
        check(Response((), ERROR))
    with pytest.raises(ProtocolError):
        check(Response(("*PERR: x",), ERROR))


def test_unsolicited_results_between_command_and_answer_and_while_idle(line):
    client, server = line
    heard = []
    client.on_unsolicited("*PEV", heard.append)
    client.command("E0", 5)
    server.send_unsolicited("*PEV: 1")
    server.send_unsolicited("*PEVIL: 1")
    assert client.command('*PECHO="*PEV: no"', 5).tagged("*PECHO") == ("*PEV: no",)
    assert heard == ["1"]
    server.send_unsolicited(lambda: "*PEV: 2")
    server.send_unsolicited("+UNKNOWN: 5")
    client.poll(0.2)
    assert heard == ["1", "2"]
    assert client.command("", 5).ok


def test_a_result_code_nobody_waits_for_closes_the_link(line):
    client, server = line
    server.send_unsolicited("OK")
    with pytest.raises(ProtocolError):
        client.poll(5)
    with pytest.raises(LinkClosed):
        client.command("", 5)


def test_a_timeout_closes_the_link():
    with stream_pair() as (computer, phone):
        client = AtClient(computer)
        with pytest.raises(LinkTimeout, match="did not answer within"):
            client.command("", 0.05)
        with pytest.raises(LinkClosed):
            client.command("", 5)
        assert phone.read(5) == b"AT\r"
        with pytest.raises(LinkClosed):
            phone.read(5)


def test_an_idle_poll_keeps_the_link_open(line):
    client, _ = line
    client.poll(0)
    assert client.command("", 5).ok


@pytest.mark.parametrize("body", ["E0\rATZ", "ä", "\x00", "x\n"])
def test_a_command_cannot_smuggle_a_second_line(line, body):
    client, _ = line
    with pytest.raises(ProtocolError):
        client.command(body, 5)
    assert client.command("", 5).ok


@pytest.mark.parametrize("flood", [b"\xff\r\n", b"x" * 70_000, b"*X: 1\r\n" * 2000, b"\x00"])
def test_a_phone_that_sends_garbage_ends_in_a_protocol_error(flood):
    with stream_pair() as (computer, phone):
        worker = Worker(lambda: phone.write(flood))
        client = AtClient(computer)
        with pytest.raises(ProtocolError):
            client.command("", 5)
        with contextlib.suppress(LinkClosed):
            worker.join()


def test_a_distrusted_peer_is_answered_and_cut_off():
    with stream_pair() as (computer, phone):
        worker = Worker(AtServer(phone, answer).serve)
        client = AtClient(computer)
        assert client.command("*PEVIL", 5).final in (ERROR, CmeError(3))
        with pytest.raises(LinkClosed):
            client.command("", 5)
        with pytest.raises(ChannelError):
            worker.join()


def test_closing_wakes_a_command_that_waits():
    with stream_pair() as (computer, _phone):
        client = AtClient(computer)
        timer = threading.Timer(0.05, client.close)
        timer.start()
        with pytest.raises(LinkClosed):
            client.command("", 30)
        timer.join()
