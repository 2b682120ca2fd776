"""The product in a machine with the real Linux Bluetooth stack. Run scripts/test-bluez, which installs what this needs.

Exit code 0 if everything was as promised, 1 at the first broken promise, 130 on Ctrl-C.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import time
from pathlib import Path

from bluez_machine import drops, machine, packages, reverse
from bluez_machine.computer import PLACE, VAULT, Computer
from bluez_machine.drops import Measuring, Times
from bluez_machine.phone import NAME, Phone
from demo_steps.radio import PHONE_ADDRESS, Radio
from demo_steps.report import BrokenPromise, Report
from demo_steps.world import World, describe
from rich.console import Console
from rich.table import Table

ABSENT, NOT_PAIRED = 41, 86  # docs/exit-codes.md


def set_up(world: World, report: Report, kernel: str) -> tuple[Radio, Computer, Phone]:
    """Radio, machine, phone."""
    with report.step("A radio: two Bluetooth adapters on one emulated air"):
        radio = Radio(world)
    with report.step("A machine with Debian's kernel and BlueZ; its adapter is on that radio"):
        running = machine.start(world, radio.computer_hci, kernel)
        report.check(True, f"Linux {running.release} and bluetoothd are up after {running.boot_s:.0f} s")
        computer = Computer(running, report)
        report.show(computer.shell("bluetoothctl show"))
    with report.step("A phone outside"):
        phone = Phone(world, radio)
    return radio, computer, phone


def pair(computer: Computer, phone: Phone, report: Report) -> None:
    """BlueZ's numeric comparison, then our six digits."""
    with report.step("Searching for the phone, and pairing with it"):
        computer.run("phonevault", "phone", "pair", "bluetooth:", "--name", NAME, "--yes")
        report.check("paired with" in phone.screen, "the phone has paired, too", phone.screen)
        said = computer.shell(f"bluetoothctl info {PHONE_ADDRESS}")
        report.check("Bonded: yes" in said, "BlueZ keeps the bond", said)
        computer.run("phonevault", "phone", "ping", NAME)
        said = computer.run("phonevault", "doctor", "--phone", NAME).output
        for line in (
            "system-bus\tok",
            "bluez\tok\tbluetoothd 5.",
            "on, does BR/EDR",
            f"phone {NAME}\tok",
        ):
            report.check(line in said, f"the doctor finds: {line.replace(chr(9), ' ')}", said)


def fill(computer: Computer, report: Report) -> None:
    """Create, mount, write, read."""
    with report.step("A vault that the phone opens"):
        computer.run("phonevault", "create", VAULT, "--phone", NAME, "--recovery-file", "/tmp/code")
        computer.mount()
        computer.fill()
        computer.check_intact()
        report.check(True, "51 files are written, read, and the same")


def lose(computer: Computer, phone: Phone, report: Report, smoke: bool) -> list[Times]:
    """The drops, and unmounting."""
    watch = computer.watch()
    measuring = Measuring(computer, phone, watch, report)
    for loss in [drops.OUT_OF_RANGE] if smoke else drops.LOSSES:
        with report.step(loss.event):
            measuring.lose(loss)
    for blip in [] if smoke else drops.BLIPS:
        with report.step(blip.event):
            measuring.blip(blip)
    watch.stop()
    computer.run("phonevault", "unmount", PLACE)
    return measuring.times


def come_to_an_absent_phone(computer: Computer, phone: Phone, report: Report) -> None:
    """Mounting without the phone, or with one that has lost its link key."""
    with report.step("Mounting while the phone is away"):
        phone.walk_away()
        took_s = computer.run("phonevault", "mount", VAULT, PLACE, code=ABSENT).took_s
        report.check(True, f"“the phone is not there” after {took_s:.1f} s; a page times out after 5.1")
        phone.come_back()
    with report.step("The phone has forgotten its Bluetooth link keys"):
        phone.stop()
        phone.forget_bonds()
        phone.start("--accept-pairing")
        took_s = computer.run("phonevault", "mount", VAULT, PLACE, code=NOT_PAIRED).took_s
        report.check(True, f"refused after {took_s:.1f} s")
        computer.run("phonevault", "phone", "pair", phone.spec, "--name", NAME, "--yes")
        computer.mount()
        computer.check_intact()
        report.check(True, "paired anew, and the vault opens as before")
        computer.run("phonevault", "unmount", PLACE)


def turn_around(world: World, radio: Radio, computer: Computer, phone: Phone, report: Report) -> None:
    """The machine is the phone."""
    with report.step("The other way round: the phone's program in the machine, the computer outside"):
        phone.stop()
        reverse.check(world, radio, computer)


def leave(world: World, computer: Computer, report: Report) -> None:
    """Nothing is left."""
    with report.step("Leaving"):
        computer.machine.control.close()
        world.stop_programs()
        left = world.processes(patience_s=5)
        report.check(not left, "no process is left", describe(left))


def table(times: list[Times]) -> Table:
    """The times measured."""
    shown = Table("event", "frozen", "locked", "open again", title="seconds of the machine's clock")
    for row in times:
        locked = "–" if row.locked_s is None else f"{row.locked_s:.2f}"
        shown.add_row(row.event, f"{row.frozen_s:.2f}", locked, f"{row.unlocked_s:.2f}")
    return shown


def test(world: World, smoke: bool, kernel: str) -> list[Times]:
    """All steps in their order; raises BrokenPromise."""
    report = world.report
    radio, computer, phone = set_up(world, report, kernel)
    try:
        pair(computer, phone, report)
        fill(computer, report)
        times = lose(computer, phone, report, smoke)
        if not smoke:
            come_to_an_absent_phone(computer, phone, report)
            turn_around(world, radio, computer, phone, report)
    except BrokenPromise as broken:
        report.show(computer.machine.console[-2000:])
        if not computer.machine.control.is_lost:
            report.show(computer.trace())
        report.show(f"the phone's screen:\n{phone.screen}")
        raise broken
    leave(world, computer, report)
    return times


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/test-bluez", description="The product in a machine with Debian's kernel and BlueZ."
    )
    parser.add_argument("--smoke", action="store_true", help="one loss instead of all of them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the times there as well")
    parser.add_argument("--kernel", default="", metavar="VERSION", help="a kernel whose version begins so")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the world is left clean as well
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    started = time.monotonic()
    try:
        with World(Report(console)) as world:
            times = test(world, arguments.smoke, arguments.kernel)
    except (BrokenPromise, packages.Unavailable) as broken:
        console.print("\n[bold red]✗ broken promise:[/] ", end="")
        console.print(str(broken), markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("\ninterrupted; machine, radio and phone are gone")
        return 130
    console.print(table(times))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([dataclasses.asdict(row) for row in times], indent=1) + "\n")
    console.print(f"\n[bold green]Everything as promised, in {time.monotonic() - started:.0f} s.[/]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
