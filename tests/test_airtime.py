"""The counting of scripts/bench airtime: packets, wake-ups, round trips."""

from __future__ import annotations

import socket
import struct
import tempfile
from pathlib import Path

from benchmark.airtime import round_trips_ms, wakeups
from benchmark.hci_tap import DataPacket, HciTap, at_bytes

from phone_link.transport.classic.rfcomm_frames import UIH, Frame


def acl_payload(channel: int, data: bytes) -> bytes:
    return struct.pack("<HH", len(data), channel) + data


def h4_acl(payload: bytes) -> bytes:
    return struct.pack("<BHH", 2, 1, len(payload)) + payload


HEARTBEAT = Frame(UIH, dlci=4, command=True, poll=False, information=b"AT*PMSG\r").encode()
CREDITS = Frame(UIH, dlci=4, command=True, poll=True, credits=7).encode()


def test_only_the_stream_counts_as_at_bytes() -> None:
    assert at_bytes(acl_payload(0x40, HEARTBEAT)) == 8
    assert at_bytes(acl_payload(0x40, CREDITS)) == 0
    assert at_bytes(acl_payload(0x01, HEARTBEAT)) == 0  # signalling
    assert at_bytes(acl_payload(0x41, b"\x02\x00\x00\x00")) == 0  # a service search
    assert at_bytes(acl_payload(0x40, HEARTBEAT)[:-1]) == 0  # a fragment
    assert at_bytes(b"") == 0


def packets(*rows: tuple[float, bool, int]) -> list[DataPacket]:
    return [DataPacket(seconds, sent, 40, count) for seconds, sent, count in rows]


def test_wakeups_are_groups_and_round_trips_go_from_line_to_line() -> None:
    seen = packets(
        (0, True, 30), (0.01, False, 30), (0.02, True, 0), (1, True, 30), (1.5, False, 0), (1.7, False, 9)
    )
    assert wakeups(seen) == 4
    assert [round(trip) for trip in round_trips_ms(seen)] == [10, 700]
    assert wakeups([]) == 0


def test_the_tap_passes_everything_on_and_notes_the_data() -> None:
    with tempfile.TemporaryDirectory(prefix="pv") as name, socket.socket(socket.AF_UNIX) as adapter:
        adapter.bind(f"{name}/adapter")
        adapter.listen()
        tap = HciTap(Path(name, "tap"), Path(name, "adapter"))
        with socket.socket(socket.AF_UNIX) as host:
            host.connect(f"{name}/tap")
            ours, _ = adapter.accept()
            with ours:
                sent = b"\x01\x03\x0c\x00" + h4_acl(acl_payload(0x40, HEARTBEAT))
                for part in (sent[:3], sent[3:9], sent[9:]):
                    host.sendall(part)
                    assert ours.recv(len(part), socket.MSG_WAITALL) == part
                answer = b"\x04\x0e\x01\x00" + h4_acl(acl_payload(0x40, CREDITS))
                ours.sendall(answer)
                assert host.recv(len(answer), socket.MSG_WAITALL) == answer
        tap.close()
        noted = tap.take()
    assert [(packet.sent, packet.at_bytes) for packet in noted] == [(True, 8), (False, 0)]
