"""Throughput against the peers that are installed, in interleaved rounds of one run."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from demo_steps import tree

from benchmark import peers, plot, results, small_work, systems, workloads
from benchmark.workloads import Workload

SHARED_MEMORY = Path("/dev/shm")

WRITE, UNPACK, FIND, CLONE = "sequential write + fsync", "untar", "find -size, cold", "git clone + status"
ALL = (  # in this order: each needs what the ones before it left
    Workload(WRITE, "MB/s", workloads.write_stream),
    Workload("sequential read, cold", "MB/s", workloads.read_stream, WRITE),
    Workload("random read, 4 KiB, cold", "op/s", small_work.read_random, WRITE),
    Workload("random write, 4 KiB + fsync", "op/s", small_work.write_random, WRITE),
    Workload("append 512 bytes", "op/s", small_work.append),
    Workload("SQLite, one-row transactions", "tx/s", small_work.transactions),
    Workload(UNPACK, "entries/s", workloads.unpack),
    Workload(FIND, "entries/s", workloads.find_cold, UNPACK),
    Workload("find -size, warm", "entries/s", workloads.find_warm, FIND),
    Workload("read all files, cold", "entries/s", workloads.read_all, UNPACK),
    Workload("rm -rf", "entries/s", workloads.remove, UNPACK),
    Workload(CLONE, "entries/s", small_work.clone),
    Workload("git status, cold", "entries/s", small_work.status, CLONE),
    Workload("daemon's memory", "MiB", workloads.memory),
)


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints; returns the exit code."""
    chosen = workloads.chosen(ALL, arguments.only)
    return compare(
        arguments, "throughput", peers.ALL, chosen, lambda here: make_plan(here, arguments.stream_mib)
    )


def compare(
    arguments: argparse.Namespace,
    subject: str,
    candidates: Sequence[type[systems.System]],
    chosen: Sequence[Workload],
    planned: Callable[[Path], workloads.Plan],
) -> int:
    """Runs the workloads on every system that is installed, and prints; returns the exit code."""
    base = arguments.base or (SHARED_MEMORY if SHARED_MEMORY.is_dir() else None)
    console = results.console()
    kinds = [kind for kind in candidates if kind.is_installed()]
    kinds = [kind for kind in kinds if not arguments.systems or kind.name in arguments.systems]
    rates: results.Rounds = {w.name: {kind.name: [] for kind in kinds} for w in chosen}
    costs: results.Rounds = {w.name: {kind.name: [] for kind in kinds} for w in chosen}
    with tempfile.TemporaryDirectory(prefix="phonevault-bench-", dir=base) as name:
        here = Path(name)
        plan = planned(here)
        console.print(
            f"in {here}: {plan.stream_mib} MiB, a tree of {plan.entries} entries, {arguments.rounds} rounds"
        )
        for number in range(arguments.rounds):
            versions = _round(kinds, number, here / f"round{number}", plan, chosen, rates, costs)
            console.print(f"round {number + 1}: {', '.join(versions.values())}")
    units = {workload.name: workload.unit for workload in chosen}
    found = {"versions": versions, "units": units, "rounds": rates, "processor_s": costs}
    console.print("medians; more is better, but for memory", end="\n\n")
    console.print(results.table(rates, units, systems.Phonevault.name))
    console.print("processor time of the daemon, ms for the whole workload; less is better", end="\n\n")
    console.print(results.processor_table(costs))
    results.write_json(arguments.json, subject, found)
    if arguments.plot is not None:
        plot.draw(found, arguments.plot)
    return 0


def make_plan(here: Path, stream_mib: int) -> workloads.Plan:
    """A tar file and a repository of the interpreter's standard library."""
    archive, library = here / "source.tar", here / "library"
    tree.copy_library(library)
    with tarfile.open(archive, "w") as tar:
        tar.add(library, "library")
    small_work.make_repository(here / "repository", library)
    shutil.rmtree(library)
    with tarfile.open(archive) as tar:
        return workloads.Plan(stream_mib, archive, len(tar.getnames()), here / "repository")


def _round(
    kinds: Sequence[type[systems.System]],
    number: int,
    base: Path,
    plan: workloads.Plan,
    chosen: Sequence[Workload],
    rates: results.Rounds,
    costs: results.Rounds,
) -> dict[str, str]:
    """Every workload on every system in turn, so that what disturbs the machine disturbs all; the order rotates."""
    with ExitStack() as stack:
        mounted = [kind(base) for kind in kinds]
        for system in mounted:
            stack.callback(take_away, system)
            system.create()
            system.mount()
        for place, workload in enumerate(chosen):
            first = (number + place) % len(mounted)
            for system in mounted[first:] + mounted[:first]:
                system.cpu_s = 0.0
                rates[workload.name][system.name].append(workload.measure(system, plan))
                costs[workload.name][system.name].append(system.cpu_s)
        return {system.name: system.version() for system in mounted}


def take_away(system: systems.System) -> None:
    """Unmount it, and remove its files."""
    if system.mountpoint.is_mount():
        try:
            system.unmount()
        except SystemExit:
            subprocess.run(["fusermount3", "-u", "-z", str(system.mountpoint)], check=False)
    shutil.rmtree(system.home, ignore_errors=True)
