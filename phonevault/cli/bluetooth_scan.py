"""The search for a phone: a list that grows while it runs, and a number typed."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from phonevault.cli.output import printable, say

if TYPE_CHECKING:
    from rich.console import Group

    from phone_link.transport.bluez.discovery import Discovery
    from phone_link.transport.bluez.objects import Device

LOOK_EVERY_S = 0.5
SEARCH_S = 15.0
"""Without a person at the keyboard; an inquiry takes 10.24 s."""
SETTLE_S = 2.0
"""How long to look for a second phone after the first."""
PROMPT = "searching… number of your phone, then Enter (Ctrl-C stops): "
COLUMNS = ("", "name", "address", "Bluetooth", "phonevault")


def choose(*, yes: bool) -> str:
    """Search for phones, let the user choose one, and return its address.

    Args:
        yes: Nobody is asked: takes the phone that offers phonevault, if it is the only one.

    Raises:
        PhoneAbsent: None was found.
        SpecError: Several were, and nobody can be asked.
        BluetoothUnavailable, BluetoothDenied, AdapterMissing, AdapterOff: This computer's Bluetooth.
    """
    from phone_link.transport.bluez.discovery import discover
    from phone_link.transport.bluez.session import bluez

    with bluez("") as bus, discover(bus) as search:
        if not yes and sys.stdin.isatty() and sys.stdout.isatty():
            return _choose_on_terminal(search)
        return _take_the_only_one(search)


def _row(number: int, device: Device) -> tuple[str, ...]:
    bond = "paired" if device.bonded else "new"
    return str(number), printable(device.name), device.address, bond, "yes" if device.offers_service else "?"


def _take_the_only_one(search: Discovery) -> str:
    from phone_link.errors import PhoneAbsent, SpecError

    say("searching for phones by Bluetooth…")
    shown: dict[str, tuple[str, ...]] = {}
    end = time.monotonic() + SEARCH_S
    settled: float | None = None
    while time.monotonic() < end and (settled is None or time.monotonic() < settled):
        devices = search.devices()
        for device in devices:
            row = _row(0, device)[1:]
            if shown.get(device.address) != row:
                shown[device.address] = row
                say("\t".join(row))
        if settled is None and any(device.offers_service and device.seen for device in devices):
            settled = time.monotonic() + SETTLE_S
        time.sleep(LOOK_EVERY_S)
    offering = [device for device in search.devices() if device.offers_service and device.seen]
    if not offering:
        raise PhoneAbsent("no phone that offers phonevault was found by Bluetooth")
    if len(offering) > 1:
        raise SpecError(
            "several phones offer phonevault",
            hint="name one: " + ", ".join(f"bluetooth:{device.address}" for device in offering),
        )
    return offering[0].address


class _Choice:
    """What has been typed, and the devices by the numbers they were given once."""

    def __init__(self) -> None:
        self.devices: list[Device] = []
        self.typed = ""

    def update(self, found: list[Device]) -> None:
        """Numbers stay what they are; what is new gets the next."""
        by_address = {device.address: device for device in found}
        self.devices = [by_address.pop(device.address, device) for device in self.devices]
        self.devices += by_address.values()

    def type(self, character: str) -> str | None:
        """Take a key; the address if Enter completes a number of the list."""
        if character in "\r\n":
            number, self.typed = self.typed, ""
            if number and 1 <= int(number) <= len(self.devices):
                return self.devices[int(number) - 1].address
        elif character in "\x7f\x08":
            self.typed = self.typed[:-1]
        elif character.isascii() and character.isdigit() and len(self.typed) < 3:
            self.typed += character
        return None

    def rows(self) -> list[tuple[str, ...]]:
        """The list as it is shown."""
        return [_row(number, device) for number, device in enumerate(self.devices, 1)]

    def __rich__(self) -> Group:
        from rich.box import SIMPLE_HEAD
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in COLUMNS:
            table.add_column(column, overflow="fold")
        for row in self.rows():
            table.add_row(*(Text(cell) for cell in row))
        return Group(table, Text(PROMPT + self.typed))


def _choose_on_terminal(search: Discovery) -> str:
    from rich.console import Console

    console = Console()
    choice = _Choice()
    address = _choose_from_lines(search, choice) if console.is_dumb_terminal else _choose_live(search, choice)
    say(f"phone: {address}")
    return address


def _choose_live(search: Discovery, choice: _Choice) -> str:
    from rich.live import Live

    address = None
    with _keys(), Live(choice, auto_refresh=False, transient=True) as live:
        while address is None:
            choice.update(search.devices())
            live.refresh()
            for character in _typed(LOOK_EVERY_S):
                address = address or choice.type(character)
    return address


def _choose_from_lines(search: Discovery, choice: _Choice) -> str:
    """For a terminal that cannot redraw: what is found becomes a line; the terminal itself takes the number."""
    say(PROMPT)
    address, shown = None, set[tuple[str, ...]]()
    while address is None:
        choice.update(search.devices())
        for row in choice.rows():
            if row not in shown:
                shown.add(row)
                say("  ".join(row))
        for character in _typed(LOOK_EVERY_S):
            address = address or choice.type(character)
    return address


@contextmanager
def _keys() -> Iterator[None]:
    """Single keys, not echoed; Ctrl-C works as ever."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)


def _typed(timeout_s: float) -> str:
    """Return what is typed within so many seconds; `KeyboardInterrupt` if the terminal is gone."""
    descriptor = sys.stdin.fileno()
    if not select.select([descriptor], [], [], timeout_s)[0]:
        return ""
    data = os.read(descriptor, 64)
    if not data:
        raise KeyboardInterrupt
    return data.decode("ascii", "replace")
