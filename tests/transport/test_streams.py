import os
import socket
import stat
import threading

import pytest
from support.streams import Worker, stream_pair

from phone_link.errors import LinkClosed, LinkError, LinkTimeout, PhoneAbsent, SpecError
from phone_link.transport import connect, listen
from phone_link.transport.faults import Faults, FaultyStream
from phone_link.transport.serial import parse_serial
from phone_link.transport.sockets import parse_tcp
from phone_link.transport.trace import Traced


def read_all(stream, count):
    data = b""
    while len(data) < count:
        data += stream.read(5)
    return data


@pytest.fixture(params=["tcp", "unix", "pty"])
def listener(request, tmp_path):
    spec = {"tcp": "tcp:127.0.0.1:0"}.get(request.param, f"{request.param}:{tmp_path / 'phone'}")
    listener = listen(spec)
    yield listener, getattr(listener, "spec", spec)
    listener.close()
    assert not os.path.lexists(tmp_path / "phone")


def test_bytes_go_both_ways_and_a_close_is_seen(listener):
    phones, spec = listener
    for _ in range(2):
        computer = connect(spec)
        computer.write(b"hello")
        phone = phones.accept(5)
        assert read_all(phone, 5) == b"hello"
        phone.write(b"world")
        assert read_all(computer, 5) == b"world"
        computer.close()
        computer.close()
        with pytest.raises(LinkClosed):
            phone.read(5)
        phone.close()


def test_much_data_in_both_directions(listener):
    phones, spec = listener
    computer = connect(spec)
    computer.write(b"x")
    phone = phones.accept(5)
    data = bytes(range(32, 127)) * 2000
    worker = Worker(lambda: computer.write(data))
    assert read_all(phone, len(data) + 1) == b"x" + data
    worker.join()
    phone.close()
    computer.close()


def test_waiting_ends_at_the_timeout_and_at_close(listener):
    phones, _ = listener
    with pytest.raises(LinkTimeout):
        phones.accept(0.02)
    timer = threading.Timer(0.05, phones.close)
    timer.start()
    with pytest.raises(LinkClosed):
        phones.accept(None)
    timer.join()
    with pytest.raises(LinkClosed):
        phones.accept(0)


def test_a_read_times_out_and_goes_on():
    with stream_pair() as (left, right):
        with pytest.raises(LinkTimeout):
            left.read(0.02)
        with pytest.raises(LinkTimeout):
            left.read(0)
        right.write(b"x")
        assert left.read(5) == b"x"


def test_close_wakes_a_blocked_read_and_a_blocked_write():
    with stream_pair() as (left, _right):
        reading = Worker(lambda: left.read(None))
        writing = Worker(lambda: left.write(bytes(1 << 24)))
        threading.Timer(0.05, left.close).start()
        for worker in (reading, writing):
            with pytest.raises(LinkClosed):
                worker.join()
        with pytest.raises(LinkClosed):
            left.write(b"x")


def test_the_end_of_a_peer_is_final():
    with stream_pair() as (left, right):
        right.write(b"last")
        right.close()
        assert left.read(5) == b"last"
        for _ in range(2):
            with pytest.raises(LinkClosed):
                left.read(5)
        with pytest.raises(LinkClosed):
            left.write(b"x")


@pytest.mark.parametrize("scheme", ["unix", "pty", "serial"])
def test_an_absent_listener_is_an_absent_phone(tmp_path, scheme):
    with pytest.raises(PhoneAbsent, match="no phone at") as caught:
        connect(f"{scheme}:{tmp_path}/nobody")
    assert caught.value.hint


def test_a_closed_tcp_port_is_an_absent_phone():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(PhoneAbsent, match="no phone at tcp"):
        connect(f"tcp:127.0.0.1:{port}")


def test_a_terminal_that_is_none_is_an_absent_phone(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PhoneAbsent):
        connect(f"pty:{tmp_path}/file")
    assert (tmp_path / "file").read_bytes() == b""


def test_a_unix_listener_is_private_and_replaces_only_stale_sockets(tmp_path):
    path = tmp_path / "phone"
    first = listen(f"unix:{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(LinkError, match="another program"):
        listen(f"unix:{path}")
    first.close()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    listen(f"unix:{path}").close()
    path.write_bytes(b"precious")
    with pytest.raises(LinkError, match="something else"):
        listen(f"unix:{path}")
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize(
    "spec",
    ["", "serial:/dev/x?a=b", "tcp", "tcp:",
     "carrier-pigeon:1", "tcp:host", "tcp:host:99999", "tcp:::1:5", "tcp:host:x", "unix:",
     "unix:" + "x" * 200, "serial:tty0", "serial:/dev/x?baud=fast", "serial:/dev/x?baud"],
)  # fmt: skip
def test_malformed_specs(spec):
    with pytest.raises(SpecError):
        connect(spec)


def test_specs_are_read_as_documented():
    assert parse_tcp("[::1]:80") == ("::1", 80)
    assert parse_serial("/dev/ttyACM0") == ("/dev/ttyACM0", 115200, False)
    assert parse_serial("/dev/ttyS0?baud=9600&rtscts=1") == ("/dev/ttyS0", 9600, True)


def test_a_serial_device_carries_the_same_bytes(tmp_path):
    phones = listen(f"pty:{tmp_path}/phone")
    computer = connect(f"serial:{tmp_path}/phone?baud=9600")
    computer.write(b"AT\r")
    phone = phones.accept(5)
    assert read_all(phone, 3) == b"AT\r"
    phone.write(b"\r\nOK\r\n")
    assert read_all(computer, 6) == b"\r\nOK\r\n"
    computer.close()
    phone.close()
    phones.close()


def test_a_trace_shows_both_directions():
    seen = []
    with stream_pair() as (left, right):
        traced = Traced(left, lambda way, data: seen.append((way, data)))
        traced.write(b"a")
        right.write(b"b")
        assert traced.read(5) == b"b"
        traced.close()
        assert seen == [(">", b"a"), ("<", b"b")]


def test_faults_happen_where_they_are_asked_for():
    with stream_pair() as (left, right):
        faults = Faults(drop_after=4, garble=lambda at, byte: byte ^ 1 if at == 2 else byte, chunk=3)
        faulty = FaultyStream(left, faults)
        right.write(b"abcdef")
        assert faulty.read(5) == b"abb"
        assert faulty.read(5) == b"d"
        with pytest.raises(LinkClosed):
            faulty.read(5)
        with pytest.raises(LinkClosed):
            right.read(5)
