"""The computer's side: the commands of phonevault, and the state it reports."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from demo_steps import tree
from demo_steps.report import BrokenPromise
from demo_steps.world import World

REFUSAL = "Required key not available"
GRACE_S = 4.0


def create(world: World, phone: str) -> None:
    """A vault with two ways in: the phone and a recovery code."""
    world.run(
        "phonevault", "create", world.vault, "--phone", phone, "--recovery-file", world.recovery_file
    ).must_succeed()
    mode = world.recovery_file.stat().st_mode & 0o777
    world.report.check(mode == 0o600, "the recovery code is in a file of its own, mode 0600", f"{mode:04o}")


def mount(world: World, *way: object) -> float:
    """Mounts; returns the seconds from the command to the usable folder, the interpreter's start included."""
    argv = ("phonevault", "mount", world.vault, world.mountpoint, *way)
    started = time.monotonic()
    outcome = world.run(*argv).must_succeed()
    os.listdir(world.mountpoint)
    took_s = time.monotonic() - started
    world.report.show(outcome.output)
    world.report.check(
        world.mountpoint.is_mount(), f"mounted and usable {took_s * 1000:.0f} ms after the command"
    )
    return took_s


def unmount(world: World) -> None:
    """Unmounts; nothing may remain but the empty mount point."""
    world.run("phonevault", "unmount", world.mountpoint).must_succeed()
    gone = not world.mounts() and not os.listdir(world.mountpoint)
    world.report.check(gone, "unmounted; the mount point is an empty directory again")


def state(world: World) -> str:
    """What `phonevault status --json` says of the demo's mount."""
    listed: list[dict[str, Any]] = json.loads(
        world.run("phonevault", "status", "--json", quiet=True).must_succeed().output
    )
    for mount in listed:
        if mount["mountpoint"] == str(world.mountpoint):
            return str(mount["state"])
    raise BrokenPromise("`phonevault status` lists the mount – but it does not")


def wait_for_state(world: World, wanted: str, since: float, timeout_s: float) -> float:
    """Seconds from the monotonic time `since` until that state was reported; raises BrokenPromise."""
    while True:
        found = state(world)
        passed_s = time.monotonic() - since
        if found == wanted:
            return passed_s
        if passed_s > timeout_s:
            raise BrokenPromise(f"{wanted} within {timeout_s:.1f} s – but it is still {found}")
        time.sleep(0.05)


def check_readable(world: World) -> None:
    """Reading works."""
    outcome = world.run("head", "-n", "1", world.mountpoint / "original" / "os.py")
    outcome.must_succeed()
    world.report.show(outcome.output)


def check_refused(world: World) -> None:
    """Reading and writing fail with the error for a missing key; nothing falls into the empty mount point."""
    reading = world.run("cat", world.mountpoint / "original" / "os.py")
    world.report.show(reading.errors)
    refused = reading.code != 0 and REFUSAL in reading.errors and not reading.output
    world.report.check(refused, f"reading answers “{REFUSAL}”", reading.output[:80] or reading.errors)
    writing = world.run("touch", world.mountpoint / "not in clear")
    world.report.check(
        writing.code != 0 and REFUSAL in writing.errors, "so does writing: nothing lands outside the vault"
    )


def check_same(world: World, what: str) -> None:
    """The copy in the vault equals the original in everything."""
    original, copy = world.original, world.mountpoint / "original"
    world.report.command(world.shorten(f"diff -r {original} {copy}"))
    world.report.check(
        not (found := tree.diff(original, copy)), f"{what}: contents are the same", found[:400]
    )
    found_meta = tree.differences(original, copy)
    promise = f"{what}: types, modes, sizes, times, links and link targets are the same"
    world.report.check(not found_meta, promise, "; ".join(found_meta[:5]))
