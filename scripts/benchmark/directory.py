"""One directory with very many entries, against the peers that are installed."""

from __future__ import annotations

import argparse
import os

from benchmark import peers
from benchmark.comparison import compare
from benchmark.systems import System
from benchmark.workloads import Plan, Workload, memory, timed

FOLDER = "many"


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints; returns the exit code."""
    return compare(
        arguments,
        "directory",
        peers.OF_ONE_DIRECTORY,
        ALL,
        lambda here: Plan(0, here, arguments.entries),
        one_mount=False,
    )


def create(system: System, plan: Plan) -> float:
    """Empty files: entries/s."""
    folder = system.mountpoint / FOLDER
    folder.mkdir()

    def action() -> None:
        for number in range(plan.entries):
            os.mknod(folder / f"file number {number}", 0o100600)

    return plan.entries / timed(system, action)


def list_cold(system: System, plan: Plan) -> float:
    """Names alone, right after mounting: entries/s."""
    system.remount()
    return list_warm(system, plan)


def list_warm(system: System, plan: Plan) -> float:
    """The same once more: entries/s."""
    return plan.entries / timed(system, lambda: _check(len(os.listdir(system.mountpoint / FOLDER)), plan))


def status_cold(system: System, plan: Plan) -> float:
    """Names and attributes of all, right after mounting: entries/s."""
    system.remount()

    def action() -> None:
        with os.scandir(system.mountpoint / FOLDER) as entries:
            _check(sum(entry.stat(follow_symlinks=False).st_size == 0 for entry in entries), plan)

    return plan.entries / timed(system, action)


def remove(system: System, plan: Plan) -> float:
    """Each entry by its name: entries/s."""
    folder = system.mountpoint / FOLDER

    def action() -> None:
        for name in os.listdir(folder):
            (folder / name).unlink()
        folder.rmdir()

    return plan.entries / timed(system, action)


def _check(found: int, plan: Plan) -> None:
    if found != plan.entries:
        raise SystemExit(f"error: {found} entries where {plan.entries} were made")


ALL = (  # in this order: each needs what the ones before it left
    Workload("create", "entries/s", create),
    Workload("list, cold", "entries/s", list_cold),
    Workload("list, warm", "entries/s", list_warm),
    Workload("list with attributes, cold", "entries/s", status_cold),
    Workload("daemon's memory", "MiB", memory),
    Workload("remove", "entries/s", remove),
)
