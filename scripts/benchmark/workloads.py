"""What is measured. A workload works in a mounted folder and returns a rate; more is better."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmark.systems import System

PIECE_BYTES = 1 << 20
STREAM = "stream"
TREE = "tree"


@dataclass(frozen=True)
class Plan:
    """Sizes of one run.

    Attributes:
        stream_mib: length of the file written and read in one piece.
        archive: tar file that is unpacked.
        entries: how many entries it has.
    """

    stream_mib: int
    archive: Path
    entries: int


@dataclass(frozen=True)
class Workload:
    """A measurement; `measure` returns units a second."""

    name: str
    unit: str
    measure: Callable[[System, Plan], float]


def timed(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _run(*argv: str, cwd: Path) -> Callable[[], None]:
    def action() -> None:
        subprocess.run(argv, cwd=cwd, check=True, stdout=subprocess.DEVNULL)

    return action


def write_stream(system: System, plan: Plan) -> float:
    """Sequential write in 1 MiB pieces, fsync included: MB/s."""
    piece = os.urandom(PIECE_BYTES)

    def action() -> None:
        with (system.mountpoint / STREAM).open("wb", buffering=0) as file:
            for _ in range(plan.stream_mib):
                file.write(piece)
            os.fsync(file.fileno())

    return plan.stream_mib * PIECE_BYTES / 1e6 / timed(action)


def read_stream(system: System, plan: Plan) -> float:
    """Sequential read in 1 MiB pieces right after mounting: MB/s."""
    system.remount()
    buffer = bytearray(PIECE_BYTES)

    def action() -> None:
        with (system.mountpoint / STREAM).open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    return plan.stream_mib * PIECE_BYTES / 1e6 / timed(action)


def unpack(system: System, plan: Plan) -> float:
    """Tar of a source tree: entries/s."""
    (system.mountpoint / TREE).mkdir()
    return plan.entries / timed(_run("tar", "-xf", str(plan.archive), "-C", TREE, cwd=system.mountpoint))


def find_cold(system: System, plan: Plan) -> float:
    """Find that needs every entry's attributes, right after mounting: entries/s."""
    system.remount()
    return find_warm(system, plan)


def find_warm(system: System, plan: Plan) -> float:
    """The same once more: entries/s."""
    return plan.entries / timed(_run("find", TREE, "-size", "+1000000k", cwd=system.mountpoint))


def read_all(system: System, plan: Plan) -> float:
    """Every file read to its end, right after mounting: entries/s."""
    system.remount()
    action = _run("find", TREE, "-type", "f", "-exec", "cat", "{}", "+", cwd=system.mountpoint)
    return plan.entries / timed(action)


def remove(system: System, plan: Plan) -> float:
    """Rm of the whole tree: entries/s."""
    rate = plan.entries / timed(_run("rm", "-rf", TREE, cwd=system.mountpoint))
    (system.mountpoint / STREAM).unlink()
    return rate


ALL = (  # in this order: each needs what the ones before it left
    Workload("sequential write + fsync", "MB/s", write_stream),
    Workload("sequential read, cold", "MB/s", read_stream),
    Workload("untar", "entries/s", unpack),
    Workload("find -size, cold", "entries/s", find_cold),
    Workload("find -size, warm", "entries/s", find_warm),
    Workload("read all files, cold", "entries/s", read_all),
    Workload("rm -rf", "entries/s", remove),
)
