"""The radio as a program, and what its adapters do beyond what phonevault's own hosts ask of them."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.radio import PC_ADDRESS, PHONE_ADDRESS, Radio
from support.radio_world import World

from phone_link.errors import LinkError, SpecError
from phone_link.transport.bluetooth_uuid import SERVICE_UUID
from phone_link.transport.bumble import open_adapter, parse_connect
from phone_link.transport.classic import hci
from phone_link.transport.classic.adapter import Adapter
from phone_link.transport.open import connect, listen

pytestmark = pytest.mark.radio


def powered(radio: Radio, timeout_s: float = 5.0) -> Adapter:
    adapter = Adapter(open_adapter(f"unix:{radio.pc_socket}", timeout_s))
    adapter.power_on(time.monotonic() + timeout_s)
    return adapter


@pytest.mark.parametrize(
    "line",
    [
        *("", "status now", "range", "range 1 on", f"range {PHONE_ADDRESS} maybe", "close F0:F0:F0:F0:F0:F0"),
        *("sup", "sup x", "sup 0", "sup -1", "sup 1e9", "sup nan"),
    ],
)
def test_control_refuses_what_makes_no_sense(shared_radio: Radio, line: str) -> None:
    before = shared_radio.status()
    assert shared_radio.control(line).startswith("error: ")
    assert shared_radio.status() == before


def test_status_names_the_adapters(shared_radio: Radio) -> None:
    controllers = shared_radio.status()["controllers"]
    assert set(controllers) == {PHONE_ADDRESS, PC_ADDRESS}
    assert controllers[PC_ADDRESS]["socket"] == str(shared_radio.pc_socket)


def test_every_command_is_answered(shared_radio: Radio) -> None:
    adapter = powered(shared_radio)
    try:
        for opcode in (0x0406, 0x0C45, 0x0C25, 0x0C12, 0x1405, 0x2001, 0xFC01, 0x0C7A, 0x041D):
            parameters = bytes(255) if opcode == 0xFC01 else struct.pack("<HB", 0x0EFE, 0x13)
            try:
                adapter.command(opcode, parameters, time.monotonic() + 5)
            except LinkError as refused:
                assert "refused a command" in str(refused)
    finally:
        adapter.close()


@pytest.mark.parametrize(
    ("opcode", "answer"),
    [
        *((0x0C25, "6000"), (0x0C38, "01"), (0x0C39, "01338b9e"), (0x0C1B, "00081200"), (0x0C46, "00")),
        *((0x0C58, "00"), (0x0C23, "000000")),
        (0x0C3A, ""),  # Write Current IAC LAP: to be discoverable
    ],
)
def test_what_linux_asks_of_an_adapter(shared_radio: Radio, opcode: int, answer: str) -> None:
    """An answer that is an error, or shorter than its clause says, makes Linux give the adapter up."""
    adapter = powered(shared_radio)
    try:
        parameters = b"\x01\x33\x8b\x9e" if opcode == 0x0C3A else b""
        assert adapter.command(opcode, parameters, time.monotonic() + 5) == bytes.fromhex(answer)
    finally:
        adapter.close()


def test_a_setting_that_linux_writes_to_be_discoverable(shared_radio: Radio) -> None:
    """Write_Current_IAC_LAP: refused, the adapter cannot be made discoverable."""
    adapter = powered(shared_radio)
    try:
        assert adapter.command(0x0C3A, bytes.fromhex("01338b9e"), time.monotonic() + 5) == b""
    finally:
        adapter.close()


def test_garbage_ends_the_host_and_not_the_radio(shared_radio: Radio) -> None:
    sock = open_adapter(f"unix:{shared_radio.pc_socket}", 5)
    with sock:
        sock.settimeout(5)
        sock.sendall(b"\xff" * 100)
        assert sock.recv(1) == b""
    powered(shared_radio).close()


def test_inquiry_finds_a_phone_that_pairs(world: World) -> None:
    world.start_phone(pairing=True)
    adapter = powered(world.radio)
    found: list[bytes] = []
    done: list[bytes] = []
    try:
        adapter.handle(0x2F, found.append)  # Extended Inquiry Result
        adapter.handle(0x01, done.append)  # Inquiry Complete
        adapter.command(0x0401, b"\x33\x8b\x9e\x01\x00", time.monotonic() + 5)
        with adapter.changed:
            adapter.wait(lambda: bool(done), time.monotonic() + 5, "no end of the inquiry")
    finally:
        adapter.close()
    (event,) = found
    assert event[1:7] == hci.parse_address(PHONE_ADDRESS)
    assert b"phonevault phone" in event
    assert bytes.fromhex(SERVICE_UUID.replace("-", ""))[::-1] in event, (
        "a computer that searches sees what it offers"
    )


def test_bad_command_lines(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "phone_link.virtual.radio"]
    one = f"{PHONE_ADDRESS}={tmp_path / 'a'}"
    for arguments in (["--controller", "x"], [], ["--controller", one, "--controller", one]):
        ended = subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert "error: " in ended.stderr


@pytest.mark.parametrize(
    "spec",
    [
        *("bumble:unix:/x", "bumble:unix:/x/", "bumble:unix:/x/F0:F1:F2:F3:F4", "bumble:/F0:F1:F2:F3:F4:F5"),
        *("bumble:usb:0/F0:F1:F2:F3:F4:F5", "bumble:tcp-client:host/F0:F1:F2:F3:F4:F5"),
        "bumble:unix:/F0:F1:F2:F3:F4:F5",
    ],
)
def test_bad_specs(spec: str) -> None:
    with pytest.raises(SpecError):
        connect(spec)


def test_bad_listening_spec() -> None:
    with pytest.raises(SpecError):
        listen("bumble:carrier-pigeon:1")


def test_address_is_behind_the_last_slash() -> None:
    adapter, address = parse_connect("unix:/run/a/b.sock/F0:F1:F2:F3:F4:F5")
    assert adapter == "unix:/run/a/b.sock"
    assert address == hci.parse_address("F0:F1:F2:F3:F4:F5")
