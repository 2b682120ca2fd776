"""Throughput against the peers that are installed, in interleaved rounds of one run."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from demo_steps import tree

from benchmark import results, systems, workloads

SHARED_MEMORY = Path("/dev/shm")


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints; returns the exit code."""
    return compare(arguments, "throughput", workloads.ALL, lambda here: _plan(here, arguments.stream_mib))


def compare(
    arguments: argparse.Namespace,
    subject: str,
    chosen: Sequence[workloads.Workload],
    make_plan: Callable[[Path], workloads.Plan],
) -> int:
    """Runs the workloads on every system that is installed, and prints; returns the exit code."""
    base = arguments.base or (SHARED_MEMORY if SHARED_MEMORY.is_dir() else None)
    console = results.console()
    with tempfile.TemporaryDirectory(prefix="phonevault-bench-", dir=base) as name:
        here = Path(name)
        plan = make_plan(here)
        kinds = [kind for kind in systems.ALL if kind.is_installed()]
        console.print(
            f"in {here}: {plan.stream_mib} MiB, a tree of {plan.entries} entries, {arguments.rounds} rounds"
        )
        series: dict[str, dict[str, list[float]]] = {
            workload.name: {kind.name: [] for kind in kinds} for workload in chosen
        }
        versions = {}
        for number in range(arguments.rounds):
            for kind in kinds[number % len(kinds) :] + kinds[: number % len(kinds)]:
                versions[kind.name] = _round(kind, here / f"round{number}", plan, chosen, series)
                console.print(f"round {number + 1}: {versions[kind.name]}")
    units = {workload.name: workload.unit for workload in chosen}
    console.print("medians; more is better, but for memory", end="\n\n")
    console.print(results.table(series, units, systems.Phonevault.name))
    results.write_json(arguments.json, subject, {"versions": versions, "units": units, "rounds": series})
    return 0


def _plan(here: Path, stream_mib: int) -> workloads.Plan:
    archive, library = here / "source.tar", here / "library"
    tree.copy_library(library)
    with tarfile.open(archive, "w") as tar:
        tar.add(library, "library")
    shutil.rmtree(library)
    with tarfile.open(archive) as tar:
        return workloads.Plan(stream_mib, archive, len(tar.getnames()))


def _round(
    kind: type[systems.System],
    base: Path,
    plan: workloads.Plan,
    chosen: Sequence[workloads.Workload],
    series: dict[str, dict[str, list[float]]],
) -> str:
    system = kind(base)
    system.create()
    system.mount()
    try:
        for workload in chosen:
            series[workload.name][kind.name].append(workload.measure(system, plan))
    finally:
        if system.mountpoint.is_mount():
            try:
                system.unmount()
            except SystemExit:
                subprocess.run(["fusermount3", "-u", "-z", str(system.mountpoint)], check=False)
    return system.version()
