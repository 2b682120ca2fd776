"""Times over the virtual radio: from command to usable folder, and from a dead radio to wiped keys."""

from __future__ import annotations

import argparse
import time

from demo_steps import phone, vault
from demo_steps.radio import Radio
from demo_steps.report import Report
from demo_steps.world import World
from rich.console import Console

from benchmark import results

QUIET = Console(quiet=True)


def _vault_with_phone(world: World) -> Radio:
    radio = Radio(world)
    phone.make(world)
    serving = phone.serve(world, radio)
    phone.pair(world, serving, radio)
    vault.create(world, phone.NAME)
    return radio


def unlock(arguments: argparse.Namespace) -> int:
    """`phonevault mount` over the virtual radio, the interpreter's start included."""
    console = results.console()
    with World(Report(QUIET)) as world:
        _vault_with_phone(world)
        times_ms = []
        for _ in range(arguments.rounds):
            times_ms.append(vault.mount(world, "--phone", phone.NAME) * 1000)
            vault.unmount(world)
    console.print(f"mount, command to usable folder: {results.spread(times_ms, 'ms')}")
    results.write_json(arguments.json, "unlock", {"mount_ms": times_ms})
    return 0


def outage(arguments: argparse.Namespace) -> int:
    """The phone leaves without a word: time to frozen, to locked; from its return to unlocked."""
    console = results.console()
    frozen_s, locked_s, back_s = [], [], []
    with World(Report(QUIET)) as world:
        radio = _vault_with_phone(world)
        vault.mount(world, "--phone", phone.NAME, "--grace", f"{vault.GRACE_S:g}")
        for _ in range(arguments.rounds):
            radio.phone_in_range(False)
            left = time.monotonic()
            frozen_s.append(vault.wait_for_state(world, "frozen", left, 60))
            locked_s.append(vault.wait_for_state(world, "locked", left, 60))
            radio.phone_in_range(True)
            back_s.append(vault.wait_for_state(world, "unlocked", time.monotonic(), 60))
            time.sleep(1.3)  # not in step with the heartbeats
        vault.unmount(world)
    console.print(f"radio dead to frozen: {results.spread(frozen_s, 's', 1)}")
    console.print(f"radio dead to keys wiped, grace {vault.GRACE_S:g} s: {results.spread(locked_s, 's', 1)}")
    console.print(f"phone back to unlocked: {results.spread(back_s, 's', 1)}")
    content = {"grace_s": vault.GRACE_S, "frozen_s": frozen_s, "locked_s": locked_s, "unlocked_s": back_s}
    results.write_json(arguments.json, "outage", content)
    return 0
