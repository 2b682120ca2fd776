"""The processes that serve a mount: found by their command line, their processor time and memory read from /proc."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

_CPU_CLOCK_OF_A_PROCESS = 2
"""CPUCLOCK_SCHED (linux/posix-timers.h): the clock of process N is ~N * 8 + this."""


def serving(mountpoint: Path) -> list[int]:
    """Numbers of the processes that have the mount point among their arguments, this one left out."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if os.fsencode(mountpoint) in words and int(process.name) != os.getpid():
                found.append(int(process.name))
    return found


def processor_s(processes: list[int]) -> float:
    """Processor time that they have used since their start, user and system, in seconds."""
    total = 0.0
    for number in processes:
        with contextlib.suppress(OSError):
            total += time.clock_gettime(~number * 8 + _CPU_CLOCK_OF_A_PROCESS)
    return total


def switches(processes: list[int]) -> int:
    """How often their living threads went to sleep by themselves so far (proc_pid_status(5))."""
    total = 0
    for number in processes:
        for status in Path(f"/proc/{number}/task").glob("*/status"):
            total += field(status, "voluntary_ctxt_switches")
    return total


@dataclass(frozen=True)
class Memory:
    """What daemons hold, in MiB.

    Attributes:
        rss: resident (VmRSS), libraries that others use too included.
        pss: the same with a shared page counted in parts; 0 where the kernel does not tell.
        peak: the most that was resident at a time (VmHWM).
    """

    rss: float
    pss: float
    peak: float

    def as_json(self) -> dict[str, float]:
        """All of it."""
        return dict(vars(self))


def memory(processes: list[int]) -> Memory:
    """Together."""
    proc = [Path(f"/proc/{number}") for number in processes]
    return Memory(
        rss=sum(field(each / "status", "VmRSS") for each in proc) / 1024,
        pss=sum(field(each / "smaps_rollup", "Pss") for each in proc) / 1024,
        peak=peak_mib(processes),
    )


def peak_mib(processes: list[int]) -> float:
    """The most memory that they have held at a time (VmHWM), in MiB."""
    return sum(field(Path(f"/proc/{number}/status"), "VmHWM") for number in processes) / 1024


def field(path: Path, name: str) -> int:
    """A number in a file of lines "name: number"; 0 where there is none, or the process is gone."""
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return 0


def wait_for_end(processes: list[int], patience_s: float = 20) -> None:
    """Return when none of them lives any more."""
    deadline = time.monotonic() + patience_s
    while any(Path(f"/proc/{number}/cmdline").exists() and _lives(number) for number in processes):
        if time.monotonic() > deadline:
            raise SystemExit(f"error: the daemon {processes} does not end")
        time.sleep(0.01)


def _lives(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
