"""The other way round: the phone's program in the machine offers its service through BlueZ, the computer is outside."""

from __future__ import annotations

import signal
import time

from demo_steps import vault
from demo_steps.radio import COMPUTER_ADDRESS, Radio
from demo_steps.world import World

from bluez_machine.computer import Computer
from bluez_machine.control import GuestProgram

STORE = "/tmp/phone"
PIN = "/tmp/pin"
NAME = "machine"
NEVER_S = 90.0


def serve(machine: Computer, *options: str) -> GuestProgram:
    """The phone's program in the machine."""
    argv = (
        "phonevault-phone",
        "serve",
        STORE,
        "--listen",
        "bluetooth:",
        "--pin-file",
        PIN,
        "--approve",
        "auto",
    )
    program = machine.start(*argv, *options)
    program.wait_for("ready: ", 120)
    return program


def check(world: World, radio: Radio, machine: Computer) -> None:
    """Pair, create, mount, lose, regain. The adapter outside is free: the phone's program there has ended."""
    machine.shell(f"umask 77; echo 271828 >{PIN}")
    machine.run("phonevault-phone", "init", STORE, "--pin-file", PIN, "--bits", "2048")
    serving = serve(machine, "--accept-pairing")
    spec = f"bumble:unix:{radio.phone_hci}/{COMPUTER_ADDRESS}"
    world.run("phonevault", "phone", "pair", spec, "--name", NAME, "--yes", timeout_s=120).must_succeed()
    vault.create(world, NAME)
    vault.mount(world, "--grace", f"{vault.GRACE_S:g}")
    (world.mountpoint / "file").write_text("written over BlueZ\n")
    serving.signal(signal.SIGKILL)
    gone = time.monotonic()
    locked_s = vault.wait_for_state(world, "locked", gone, NEVER_S)
    world.report.check(True, f"the phone's program in the machine is killed: locked after {locked_s:.1f} s")
    serve(machine)
    back = time.monotonic()
    unlocked_s = vault.wait_for_state(world, "unlocked", back, NEVER_S)
    kept = (world.mountpoint / "file").read_text() == "written over BlueZ\n"
    world.report.check(kept, f"it serves again: open {unlocked_s:.1f} s later, the file is there")
    vault.unmount(world)
