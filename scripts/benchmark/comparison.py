"""Running the same workloads on our folder and on the peers, in interleaved rounds of one run."""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark import daemons, fresh_memory, plot, ratios, results
from benchmark.grid import Grid
from benchmark.systems import System
from benchmark.workloads import Plan, Workload

SHARED_MEMORY = Path("/dev/shm")


def compare(
    arguments: argparse.Namespace,
    subject: str,
    candidates: Sequence[type[System]],
    chosen: Sequence[Workload],
    planned: Callable[[Path], Plan],
    *,
    one_mount: bool = True,
) -> int:
    """Runs the workloads on every system that is installed, and prints; returns the exit code.

    Args:
        one_mount: afterwards run all once more in one mount, and look at the daemon's memory.
    """
    console = results.console()
    kinds = installed(candidates, arguments.systems)
    measured = Measured.of(chosen, kinds)
    fresh_memory.use_up()
    with working_directory(arguments.base) as here:
        plan = planned(here)
        console.print(
            f"in {here}: {plan.stream_mib} MiB, a tree of {plan.entries} entries, {arguments.rounds} rounds"
        )
        for number in range(arguments.rounds):
            versions = _round(kinds, number, here / f"round{number}", plan, chosen, measured)
            console.print(f"round {number + 1}: {', '.join(versions.values())}")
        memory = _memory_of_one_mount(kinds, here / "memory", plan, chosen) if one_mount else {}
    units = {workload.name: workload.unit for workload in chosen}
    found = {
        "versions": versions,
        "plan": {"stream_mib": plan.stream_mib, "entries": plan.entries, "rounds": arguments.rounds},
        "units": units,
        **vars(measured),
        "ratios": ratios.as_json(
            {name: each for name, each in measured.rounds.items() if units[name] != "MiB"}
        ),
        "memory_mib": memory,
    }
    for title, grid in tables(found):
        console.print(title, end="\n\n")
        grid.show(console)
    results.write_json(arguments.json, subject, found)
    if arguments.plot is not None:
        plot.draw(found, arguments.plot)
    return 0


@dataclass(frozen=True)
class Measured:
    """By workload and system, a value each round.

    Attributes:
        rounds: the rates.
        processor_s: processor time of the daemon, in seconds.
        switches: how often a thread of it went to sleep.
    """

    rounds: results.Rounds
    processor_s: results.Rounds
    switches: results.Rounds

    @classmethod
    def of(cls, chosen: Sequence[Workload], kinds: Sequence[type[System]]) -> Measured:
        """Nothing yet."""
        return cls(*({w.name: {kind.name: [] for kind in kinds} for w in chosen} for _ in range(3)))

    def add(self, workload: str, system: System, rate: float) -> None:
        """A rate, and what the system notes of it."""
        self.rounds[workload][system.name].append(rate)
        self.processor_s[workload][system.name].append(system.cpu_s)
        self.switches[workload][system.name].append(system.switches)


def tables(found: Mapping[str, Any]) -> Iterator[tuple[str, Grid]]:
    """What a run found, each table with its title."""
    yield "medians; more is better, but for memory", results.table(found["rounds"], found["units"])
    yield "smallest and largest of the rounds", results.range_table(found["rounds"])
    times = results.cost_table(found["processor_s"], 1000)
    yield "processor time of the daemon, ms for the whole workload; less is better", times
    switches = results.cost_table(found["switches"], 1)
    yield "how often a thread of the daemon went to sleep, in the whole workload", switches
    if found["memory_mib"]:
        title = "memory of the daemon after all of these workloads in one mount; less is better"
        yield title, results.memory_table(found["memory_mib"])


def installed(candidates: Sequence[type[System]], wanted: Sequence[str]) -> list[type[System]]:
    """Those that are here, and wanted if any are named."""
    return [kind for kind in candidates if kind.is_installed() and (not wanted or kind.name in wanted)]


@contextmanager
def working_directory(base: Path | None) -> Iterator[Path]:
    """A new directory, in shared memory if not told otherwise."""
    where = base or (SHARED_MEMORY if SHARED_MEMORY.is_dir() else None)
    with tempfile.TemporaryDirectory(prefix="phonevault-bench-", dir=where) as name:
        yield Path(name)


def _round(
    kinds: Sequence[type[System]],
    number: int,
    base: Path,
    plan: Plan,
    chosen: Sequence[Workload],
    measured: Measured,
) -> dict[str, str]:
    """Every workload on every system in turn, so that what disturbs the machine disturbs all."""
    with ExitStack() as stack:
        mounted = [kind(base) for kind in kinds]
        for system in mounted:
            stack.callback(take_away, system)
            system.create()
            system.mount()
        for workload in chosen:
            for system in in_turn(mounted, f"{number} {workload.name}"):
                system.cpu_s, system.switches = 0.0, 0
                measured.add(workload.name, system, workload.measure(system, plan))
        return {system.name: system.version() for system in mounted}


def in_turn(mounted: Sequence[System], seed: str) -> list[System]:
    """In an order that is the same in every run: none always follows the same other one, or comes first."""
    return random.Random(seed).sample(mounted, len(mounted))


def _memory_of_one_mount(
    kinds: Sequence[type[System]], base: Path, plan: Plan, chosen: Sequence[Workload]
) -> dict[str, dict[str, float]]:
    """Every workload once more, "cold" ones without mounting anew: one daemon has done all when its memory is looked at."""
    found = {}
    for kind in kinds:
        system = kind(base)
        try:
            system.create()
            system.mount()
            system.stays = True
            for workload in chosen:
                workload.measure(system, plan)
            if processes := system.daemons():
                found[system.name] = daemons.memory(processes).as_json()
        finally:
            take_away(system)
    return found


def take_away(system: System) -> None:
    """Unmount it, and remove its files."""
    if system.mountpoint.is_mount():
        try:
            system.unmount()
        except SystemExit:
            subprocess.run(["fusermount3", "-u", "-z", str(system.mountpoint)], check=False)
    shutil.rmtree(system.home, ignore_errors=True)
