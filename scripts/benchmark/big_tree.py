"""A tree of very many files: when it can be used after mounting, how fast it is walked, what the daemon keeps of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmark import comparison, daemons
from benchmark.cells import Limits
from benchmark.grid import Grid, number
from benchmark.results import median_or_none
from benchmark.systems import System
from benchmark.workloads import timed

FOLDER = "tree"
FILES_OF_A_FOLDER = 100
UNITS = {
    "command `mount`": "ms",
    "first listing of the root": "ms",
    "find -size over all, cold": "entries/s",
    "the same again, warm": "entries/s",
    "memory before (RSS)": "MiB",
    "memory after (RSS)": "MiB",
    "memory for each entry": "bytes",
}
_MAKE = """
import os, sys
top, files, each = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for number in range(0, files, each):
    folder = os.path.join(top, f"folder {number // each}")
    os.mkdir(folder)
    for name in range(min(each, files - number)):
        os.mknod(os.path.join(folder, f"file {name}"), 0o100600)
"""


def measure(kinds: Sequence[type[System]], here: Path, files: int, limits: Limits) -> dict[str, object]:
    """As JSON: by measure and system a value a round; who was left out, and why."""
    entries = files + (files + FILES_OF_A_FOLDER - 1) // FILES_OF_A_FOLDER
    values: dict[str, dict[str, list[float]]] = {each: {kind.name: [] for kind in kinds} for each in UNITS}
    with ExitStack() as stack:
        mounted = [kind(here / "tree") for kind in kinds]
        for system in mounted:
            stack.callback(comparison.take_away, system)
            system.create()
            system.mount()
        left_out = _build(mounted, files, limits.part_s)
        mounted = [system for system in mounted if system.name not in left_out]
        began_s, rounds = time.monotonic(), 0
        while rounds < limits.rounds and _fits(time.monotonic() - began_s, rounds, limits.part_s):
            for system in comparison.in_turn(mounted, f"{rounds} tree"):
                for name, value in _look(system, entries).items():
                    values[name][system.name].append(value)
            rounds += 1
    told = {"files": files, "entries": entries, "rounds": rounds}
    return {**told, "units": UNITS, "values": values, "left_out": left_out}


def _fits(passed_s: float, rounds: int, at_most_s: float) -> bool:
    """Whether another round as long as those before ends in time."""
    return rounds == 0 or passed_s * (rounds + 1) / rounds <= at_most_s


def _build(mounted: Sequence[System], files: int, patience_s: float) -> dict[str, str]:
    """Empty files through each mount, all systems at once: this is not measured. Who did not come to an end in time is named."""
    arguments = (str(files), str(FILES_OF_A_FOLDER))
    making = {}
    for system in mounted:
        top = system.mountpoint / FOLDER
        top.mkdir()
        making[system.name] = subprocess.Popen([sys.executable, "-c", _MAKE, str(top), *arguments])
    left_out, deadline_s = {}, time.monotonic() + patience_s
    try:
        for name, process in making.items():
            try:
                if process.wait(max(0.0, deadline_s - time.monotonic())) != 0:
                    raise SystemExit(f"error: the tree could not be made in {name}")
            except subprocess.TimeoutExpired:
                left_out[name] = f"not built in {patience_s:.0f} s"
    finally:
        for process in making.values():
            process.kill()
            process.wait()
    return left_out


def _look(system: System, entries: int) -> Mapping[str, float]:
    system.unmount()
    began_s = time.perf_counter()
    system.mount()
    mounted_s = time.perf_counter()
    os.listdir(system.mountpoint)
    listed_s = time.perf_counter()
    before = daemons.memory(system.daemons()).rss
    cold_s, warm_s = (timed(system, lambda: _find(system)) for _ in range(2))
    after = daemons.memory(system.daemons()).rss
    of_daemon = (before, after, (after - before) * (1 << 20) / entries)
    times = ((mounted_s - began_s) * 1000, (listed_s - mounted_s) * 1000)
    told = (*times, entries / cold_s, entries / warm_s, *of_daemon)
    if not system.daemons():  # a plain directory: nothing is mounted
        told = (float("nan"), *told[1:4], *[float("nan")] * 3)
    return dict(zip(UNITS, told, strict=True))


def _find(system: System) -> None:
    words = ["find", FOLDER, "-size", "+1000000k"]
    subprocess.run(words, cwd=system.mountpoint, check=True, stdout=subprocess.DEVNULL)


def table(found: Mapping[str, object]) -> Grid:
    """Medians by system."""
    values: Mapping[str, Mapping[str, Sequence[float]]] = found["values"]  # type: ignore[assignment]
    units: Mapping[str, str] = found["units"]  # type: ignore[assignment]
    left_out: Mapping[str, str] = found["left_out"]  # type: ignore[assignment]
    systems = list(next(iter(values.values())))
    grid = Grid([f"a tree of {found['files']:,} files", "unit", *systems], left=2)
    for measure_name, by_system in values.items():
        cells = [left_out.get(name) or number(median_or_none(by_system[name])) for name in systems]
        grid.rows.append([measure_name, units[measure_name], *cells])
    return grid
