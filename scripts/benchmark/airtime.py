"""What a mounted folder that does nothing costs the phone: bytes, packets and wake-ups of the heartbeat, and sniff mode."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo_steps import phone, vault
from demo_steps.radio import PHONE_ADDRESS, Radio
from demo_steps.report import Report
from demo_steps.world import World
from rich import box
from rich.console import Console
from rich.table import Table

from benchmark import daemons, results
from benchmark.hci_tap import DataPacket, HciTap

SLOT_MS = 0.625
SNIFF_SLOTS = (0, 160, 800, 1600, 2048)
"""Active mode; 0.1, 0.5, 1.0 and 1.28 s."""
APART_S = 0.05
"""Packets closer than this are one wake-up of the phone's radio and processor."""


@dataclass(frozen=True)
class Minute:
    """What one setting costs, a minute."""

    beats: float
    at_bytes: float
    acl_bytes: float
    packets: float
    phone_wakeups: float
    phone_switches: float
    round_trip_ms: Sequence[float]
    states: Sequence[str]

    def as_json(self) -> Mapping[str, object]:
        """All of it."""
        return dict(vars(self))


def run(arguments: argparse.Namespace) -> int:
    """Measures each setting for `--seconds`; returns the exit code."""
    console = results.console()
    found: dict[int, Minute] = {}
    with World(Report(Console(quiet=True))) as world:
        radio = Radio(world)
        taps = _tap(world, radio)
        phone.make(world)
        serving = phone.serve(world, radio)
        phone.pair(world, serving, radio)
        vault.create(world, phone.NAME)
        vault.mount(world, "--phone", phone.NAME)
        for slots in SNIFF_SLOTS:
            radio.sniff(slots)
            found[slots] = _measure(world, taps, arguments.seconds)
        radio.sniff(0)
        vault.unmount(world)
        for tap in taps:
            tap.close()
    console.print(_table(found))
    content = {
        "seconds": arguments.seconds,
        "sniff_slots": {slots: one.as_json() for slots, one in found.items()},
    }
    results.write_json(arguments.json, "airtime", content)
    return 0


def _tap(world: World, radio: Radio) -> tuple[HciTap, HciTap]:
    """Puts a tap before each adapter: (the phone's, the computer's)."""
    phone_path, computer_path = world.radio_dir / "phone.tap", world.radio_dir / "computer.tap"
    taps = (HciTap(phone_path, radio.phone_hci), HciTap(computer_path, radio.computer_hci))
    radio.listen_spec = f"bumble:unix:{phone_path}"
    radio.connect_spec = f"bumble:unix:{computer_path}/{PHONE_ADDRESS}"
    return taps


def _measure(world: World, taps: tuple[HciTap, HciTap], seconds: float) -> Minute:
    time.sleep(3)  # until the new setting holds
    for tap in taps:
        tap.take()
    switches, began_s, states = _switches(world), time.monotonic(), []
    while time.monotonic() - began_s < seconds:
        states.append(vault.state(world))
        time.sleep(0.5)
    minutes = (time.monotonic() - began_s) / 60
    of_phone, of_computer = (tap.take() for tap in taps)
    beats = [packet for packet in of_computer if packet.sent and packet.at_bytes]
    return Minute(
        beats=len(beats) / minutes,
        at_bytes=sum(packet.at_bytes for packet in of_phone) / minutes,
        acl_bytes=sum(packet.length for packet in of_phone) / minutes,
        packets=len(of_phone) / minutes,
        phone_wakeups=wakeups(of_phone) / minutes,
        phone_switches=(_switches(world) - switches) / minutes,
        round_trip_ms=round_trips_ms(of_computer),
        states=sorted(set(states)),
    )


def wakeups(packets: Sequence[DataPacket]) -> int:
    """Groups of packets with a pause between them."""
    last_s, groups = float("-inf"), 0
    for packet in packets:
        groups += packet.seconds - last_s > APART_S
        last_s = packet.seconds
    return groups


def round_trips_ms(packets: Sequence[DataPacket]) -> list[float]:
    """From each line of the computer to the next of the phone."""
    found, sent_s = [], None
    for packet in packets:
        if not packet.at_bytes:
            continue
        if packet.sent:
            sent_s = packet.seconds
        elif sent_s is not None:
            found.append((packet.seconds - sent_s) * 1000)
            sent_s = None
    return found


def _switches(world: World) -> int:
    """How often threads of the phone's program went to sleep so far (proc_pid_status(5))."""
    for pid in world.processes():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"serve" in words:
            return daemons.switches([pid])
    raise SystemExit("error: the phone's program is gone")


def _table(found: Mapping[int, Minute]) -> Table:
    table = Table(box=box.MARKDOWN)
    columns = (
        "sniff interval",
        "heartbeats",
        "AT bytes",
        "ACL bytes",
        "ACL packets",
        "wake-ups of the radio",
    )
    for column in (*columns, "sleeps of the program", "round trip, median (most)", "folder"):
        table.add_column(column, justify="right")
    for slots, one in found.items():
        trip = (
            f"{statistics.median(one.round_trip_ms):,.1f} ms ({max(one.round_trip_ms):,.0f})"
            if one.round_trip_ms
            else "–"
        )
        numbers = (one.beats, one.at_bytes, one.acl_bytes, one.packets, one.phone_wakeups, one.phone_switches)
        name = f"{slots * SLOT_MS / 1000:g} s" if slots else "active"
        table.add_row(name, *(f"{number:,.0f}" for number in numbers), trip, ", ".join(one.states))
    return table
