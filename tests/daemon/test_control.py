"""The control socket: strict messages, bounded reads, the right user only."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phone_link.errors import PinIncorrect
from phonevault.daemon import client, control, protocol
from phonevault.daemon.control import ControlServer
from phonevault.daemon.protocol import Request
from phonevault.errors import ControlError, ErrorReport, NotMounted, ReportedError
from phonevault.paths import control_socket_name

# A bug in a handler ends its thread, on purpose, some time during this module.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

PLACE = "/somewhere/private"
REQUESTS = st.one_of(
    st.sampled_from([Request(op) for op in ("status", "lock", "unmount")]),
    st.just(Request("unlock", "phone")),
    st.builds(Request, st.just("unlock"), st.sampled_from(["passphrase", "recovery"]), st.integers(1, 1024)),
    st.builds(
        lambda path: Request("unlock", "phone", header="/" + os.fsdecode(path)),
        st.binary(max_size=4095).map(lambda raw: raw.replace(b"\0", b"/")),
    ),
    st.builds(
        lambda method, duty: Request(
            "rotate", method, 0 if method == "phone" else 9, kind="master", digest="a1" * 32, duty=duty
        ),
        st.sampled_from(protocol.METHODS),
        st.floats(0, 1),
    ),
    st.builds(Request, st.just("rotation"), change=st.sampled_from(["pause", "resume"])),
    st.builds(
        lambda duty: Request("rotation", change="throttle", duty=duty), st.floats(0, 1, exclude_min=True)
    ),
)


@given(REQUESTS)
def test_requests_survive_the_wire(request: Request) -> None:
    line = protocol.encode_request(request)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert len(line) <= protocol.MAX_REQUEST_BYTES
    assert protocol.parse_request(line[:-1]) == request


ROTATE = {
    "version": 1, "op": "rotate", "method": "phone", "secret_bytes": 0, "kind": "master", "digest": "0" * 64, "duty": 0.5,
}  # fmt: skip
ROTATION = {"version": 1, "op": "rotation", "method": "", "secret_bytes": 0, "change": "pause", "duty": 0}


@pytest.mark.parametrize(
    ("base", "change"),
    [
        (ROTATE, {"kind": "slot"}),
        (ROTATE, {"kind": ["master"]}),
        (ROTATE, {"digest": "0" * 63}),
        (ROTATE, {"digest": "G" * 64}),
        (ROTATE, {"digest": 7}),
        (ROTATE, {"duty": True}),
        (ROTATE, {"duty": 1.5}),
        (ROTATE, {"duty": -0.1}),
        (ROTATE, {"duty": "1"}),
        (ROTATE, {"method": ""}),
        (ROTATE, {"method": "passphrase"}),
        (ROTATE, {"change": "pause"}),
        (ROTATE, {"header": "/elsewhere"}),
        (ROTATION, {"change": ""}),
        (ROTATION, {"change": "stop"}),
        (ROTATION, {"duty": 0.5}),
        (ROTATION, {"change": "throttle"}),
        (ROTATION, {"kind": "master"}),
        (ROTATION, {"secret_bytes": 4}),
    ],
)
def test_malformed_requests_for_rotations_are_refused(base: dict[str, Any], change: dict[str, Any]) -> None:
    protocol.parse_request(json.dumps(base).encode())
    with pytest.raises(ControlError):
        protocol.parse_request(json.dumps({**base, **change}).encode())


@given(st.binary(max_size=600))
def test_hostile_bytes_are_refused_or_understood(line: bytes) -> None:
    for parse in (protocol.parse_request, protocol.parse_answer):
        try:
            parse(line)
        except ControlError:
            continue


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": True},
        {"op": "format"},
        {"op": ["lock"]},
        {"method": "phone"},
        {"secret_bytes": 1},
        {"header": ""},
        {"header": "/f"},
        {"op": "unlock", "method": "phone", "header": "relative"},
        {"op": "unlock", "method": "phone", "header": "/a\0b"},
        {"op": "unlock", "method": "phone", "header": "/" + 4096 * "a"},
        {"op": "unlock", "method": "phone", "header": "/\ud800"},
        {"op": "unlock", "method": "phone", "header": ["/f"]},
        {"secret_bytes": "0"},
        {"secret_bytes": False},
        {"more": 1},
    ],
)
def test_a_request_that_is_not_exactly_right_is_refused(change: dict[str, Any]) -> None:
    right = {"version": 1, "op": "lock", "method": "", "secret_bytes": 0}
    assert protocol.parse_request(json.dumps(right).encode()) == Request("lock")
    with pytest.raises(ControlError):
        protocol.parse_request(json.dumps(right | change).encode())


@pytest.mark.parametrize("length", [0, -1, 1025, 10**9])
def test_the_length_of_a_secret_is_bounded(length: int) -> None:
    with pytest.raises(ControlError):
        protocol.encode_request(Request("unlock", "passphrase", length))


def test_a_member_given_twice_is_refused() -> None:
    line = b'{"version":1,"op":"lock","op":"status","method":"","secret_bytes":0}'
    with pytest.raises(ControlError):
        protocol.parse_request(line)


def test_answers_survive_the_wire() -> None:
    assert protocol.parse_answer(protocol.encode_answer({"state": "locked"})[:-1]) == {"state": "locked"}
    report = ErrorReport("wrong", "try again", 41)
    assert protocol.parse_answer(protocol.encode_error(report)[:-1]) == report


class Answering:
    """A control server whose handler writes down what it is asked."""

    def __init__(self, directory: Path) -> None:
        self.seen: list[tuple[Request, bytes]] = []
        self.secrets: list[bytearray] = []
        self.error: Exception | None = None
        self.server = ControlServer(directory, control_socket_name(PLACE), self)
        self.server.start()

    def __call__(self, request: Request, secret: bytearray) -> dict[str, Any]:
        self.seen.append((request, bytes(secret)))
        self.secrets.append(secret)
        if self.error is not None:
            raise self.error
        return {"did": request.op}


@pytest.fixture
def answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    deep = tmp_path / ("x" * 120)  # longer than the name of a socket may be
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    directory = deep / "phonevault"
    directory.mkdir(mode=0o700, parents=True)
    answering = Answering(directory)
    yield answering
    answering.server.close()


def test_a_request_and_its_secret_arrive_and_the_secret_is_wiped(answering: Answering) -> None:
    secret = bytearray(b"open sesame")
    request = Request("unlock", "passphrase", len(secret))
    assert client.call(PLACE, request, secret) == {"did": "unlock"}
    assert answering.seen == [(request, b"open sesame")]
    assert answering.secrets[0] == bytes(len(secret))


def test_an_error_keeps_its_message_hint_and_code(answering: Answering) -> None:
    answering.error = PinIncorrect(2)
    with pytest.raises(ReportedError) as caught:
        client.call(PLACE, Request("lock"))
    assert (str(caught.value), caught.value.exit_code) == ("wrong PIN, 2 tries left", 51)


def test_a_bug_is_not_reported_as_an_error(answering: Answering) -> None:
    answering.error = ZeroDivisionError()
    with pytest.raises(ControlError):
        client.call(PLACE, Request("lock"))


def raw(answering: Answering, data: bytes) -> bytes:
    with client._open(answering.server._path.parent, answering.server._path.name) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while piece := connection.recv(4096):
            received += piece
        return received


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"lock\n",
        b'{"version": 1}\n',
        protocol.encode_request(Request("lock"))[:-1],
        protocol.encode_request(Request("lock")) + b"x",
        protocol.encode_request(Request("unlock", "recovery", 10)) + b"short",
        b" " * 3000,
    ],
)
def test_a_malformed_request_is_answered_with_an_error_and_not_carried_out(
    answering: Answering, data: bytes
) -> None:
    answer = protocol.parse_answer(raw(answering, data)[:-1])
    assert isinstance(answer, ErrorReport)
    assert answer.exit_code == 8
    assert answering.seen == []


def test_another_user_is_refused_but_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
        if os.geteuid() == 0:
            control.check_peer(theirs)  # root may
        else:
            with pytest.raises(ControlError):
                control.check_peer(theirs)


def test_the_socket_is_private_and_goes_with_the_server(answering: Answering) -> None:
    path = answering.server._path
    assert path.stat().st_mode & 0o777 == 0o600
    answering.server.close()
    assert not path.exists()
    with pytest.raises(NotMounted):
        client.call(PLACE, Request("status"))


def test_more_callers_than_allowed_are_turned_away(answering: Answering) -> None:
    idle = [client._open(answering.server._path.parent, answering.server._path.name) for _ in range(20)]
    try:
        turned_away = [connection for connection in idle if _is_closed(connection)]
        assert len(turned_away) >= 20 - control.MAX_CONNECTIONS
    finally:
        for connection in idle:
            connection.close()


def _is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.2)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False


def test_who_unmounts_waits_for_the_end_of_the_daemons_process(
    answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "END_TIMEOUT_S", 0.1)
    with pytest.raises(ControlError, match="has not ended yet"):  # this process, which goes on
        client.call_and_await_end(PLACE, Request("unmount"))
    assert answering.seen[0][0] == Request("unmount")
