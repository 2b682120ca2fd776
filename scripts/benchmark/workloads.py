"""What is measured. A workload works in a mounted folder and returns a rate; more is better."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark import daemons, fresh_memory
from benchmark.systems import System

PIECE_BYTES = 1 << 20
STREAM = "stream"
TREE = "tree"
_MEMORY = 3
"""How often what the file is long: its plaintext in the kernel's cache, its ciphertext, and some for what lies between."""


@dataclass(frozen=True)
class Plan:
    """Sizes of one run.

    Attributes:
        stream_mib: length of the file written and read in one piece.
        archive: tar file that is unpacked.
        entries: how many entries it has.
        repository: git repository with the same entries.
    """

    stream_mib: int
    archive: Path
    entries: int
    repository: Path = Path()


@dataclass(frozen=True)
class Workload:
    """A measurement; `measure` returns units a second.

    Attributes:
        needs: name of the workload that leaves what this one works on.
    """

    name: str
    unit: str
    measure: Callable[[System, Plan], float]
    needs: str = ""


def chosen(every: Sequence[Workload], words: Sequence[str]) -> list[Workload]:
    """Those whose names contain one of the words, and what they need; all without words.

    Raises:
        SystemExit: no name contains any.
    """
    wanted = {workload.name for workload in every if any(word in workload.name for word in words)}
    if words and not wanted:
        raise SystemExit(f"error: no workload is called so; there are: {', '.join(w.name for w in every)}")
    for workload in reversed(every):
        if workload.name in wanted and workload.needs:
            wanted.add(workload.needs)
    return [workload for workload in every if workload.name in wanted or not words]


def timed(system: System, action: Callable[[], None]) -> float:
    """Seconds that it takes; what the daemon did meanwhile goes to the system's attributes."""
    processes = system.daemons()
    slept = daemons.switches(processes)
    before_s, started = daemons.processor_s(processes), time.perf_counter()
    action()
    seconds = time.perf_counter() - started
    system.cpu_s = daemons.processor_s(processes) - before_s
    system.switches = daemons.switches(processes) - slept
    system.timed_s += seconds
    return seconds


def take_memory(plan: Plan) -> None:
    """Before what goes over the large file: nobody waits for the host, or everybody does."""
    fresh_memory.use_up(_MEMORY * plan.stream_mib * PIECE_BYTES)


def _run(*argv: str, cwd: Path) -> Callable[[], None]:
    def action() -> None:
        subprocess.run(argv, cwd=cwd, check=True, stdout=subprocess.DEVNULL)

    return action


def write_stream(system: System, plan: Plan) -> float:
    """Sequential write in 1 MiB pieces, fsync included: MB/s."""
    piece = os.urandom(PIECE_BYTES)
    take_memory(plan)

    def action() -> None:
        with (system.mountpoint / STREAM).open("wb", buffering=0) as file:
            for _ in range(plan.stream_mib):
                file.write(piece)
            os.fsync(file.fileno())

    return plan.stream_mib * PIECE_BYTES / 1e6 / timed(system, action)


def read_stream(system: System, plan: Plan) -> float:
    """Sequential read in 1 MiB pieces right after mounting: MB/s."""
    system.remount()
    take_memory(plan)
    buffer = bytearray(PIECE_BYTES)

    def action() -> None:
        with (system.mountpoint / STREAM).open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    return plan.stream_mib * PIECE_BYTES / 1e6 / timed(system, action)


def unpack(system: System, plan: Plan) -> float:
    """Tar of a source tree: entries/s."""
    (system.mountpoint / TREE).mkdir()
    command = _run("tar", "-xf", str(plan.archive), "-C", TREE, cwd=system.mountpoint)
    return plan.entries / timed(system, command)


def find_cold(system: System, plan: Plan) -> float:
    """Find that needs every entry's attributes, right after mounting: entries/s."""
    system.remount()
    return find_warm(system, plan)


def find_warm(system: System, plan: Plan) -> float:
    """The same once more: entries/s."""
    command = _run("find", TREE, "-size", "+1000000k", cwd=system.mountpoint)
    return plan.entries / timed(system, command)


def read_all(system: System, plan: Plan) -> float:
    """Every file read to its end, right after mounting: entries/s."""
    system.remount()
    command = _run("find", TREE, "-type", "f", "-exec", "cat", "{}", "+", cwd=system.mountpoint)
    return plan.entries / timed(system, command)


def remove(system: System, plan: Plan) -> float:
    """Rm of the whole tree: entries/s."""
    return plan.entries / timed(system, _run("rm", "-rf", TREE, cwd=system.mountpoint))


def memory(system: System, plan: Plan) -> float:
    """The most that the daemon has held: MiB. A plain directory has none."""
    del plan
    return system.memory_mib() or float("nan")
