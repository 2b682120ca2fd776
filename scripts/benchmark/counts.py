"""What the kernel asks for each workload: requests by opcode, and the daemon's processor time for one of them."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from rich import box
from rich.table import Table

from benchmark import comparison, counted_mount, results, throughput, workloads
from benchmark.systems import Phonevault
from phonevault.fuse.abi import Opcode

_SCRIPTS = Path(__file__).parents[1]


class Counted(Phonevault):
    """The product under the counter."""

    def __init__(self, base: Path, cipher: str) -> None:
        super().__init__(base)
        self.options = ("--cipher", cipher)
        self.counts = self.home / "counts"
        self.counts.write_bytes(bytes(counted_mount.COUNTS_BYTES))

    def mount(self) -> None:
        words = ("mount", str(self.cipher), str(self.mountpoint), "--recovery-file", str(self.secret))
        environment = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(self.home),
            "XDG_CONFIG_HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home),
            "PYTHONPATH": str(_SCRIPTS),
        }
        program = [sys.executable, "-m", "benchmark.counted_mount", str(self.counts), *words]
        subprocess.run(program, env=environment, check=True, stdout=subprocess.DEVNULL)


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints; returns the exit code."""
    chosen = workloads.chosen(throughput.ALL, arguments.only)
    table = Table(box=box.ROUNDED if results.console().is_terminal else box.MARKDOWN)
    for column in (
        "workload",
        "requests",
        "µs of the daemon for each",
        "by opcode: how often, µs in its handler",
    ):
        table.add_column(column)
    found = {}
    with comparison.working_directory(None) as here:
        plan = throughput.make_plan(here, arguments.stream_mib)
        system = Counted(here, arguments.cipher)
        system.create()
        system.mount()
        try:
            for workload in chosen:
                found[workload.name] = values = _measure(system, workload, plan)
                table.add_row(workload.name, *_cells(values))
        finally:
            comparison.take_away(system)
    results.console().print(table)
    results.write_json(arguments.json, "requests", {"cipher": arguments.cipher, "workloads": found})
    return 0


def _measure(system: Counted, workload: workloads.Workload, plan: workloads.Plan) -> dict[str, object]:
    """Mounting anew inside of the workload is counted too: a handful of requests."""
    before = counted_mount.read(system.counts)
    workload.measure(system, plan)
    after = counted_mount.read(system.counts)
    opcodes = {
        Opcode(number).name: (often - before[0][number], (after[1][number] - before[1][number]) / 1000)
        for number, often in enumerate(after[0])
        if often > before[0][number]
    }
    return {"processor_us": system.cpu_s * 1e6, "opcodes": opcodes}


def _cells(values: dict[str, object]) -> tuple[str, str, str]:
    opcodes: dict[str, tuple[int, float]] = values["opcodes"]  # type: ignore[assignment]
    total = sum(often for often, _ in opcodes.values())
    each = float(values["processor_us"]) / max(total, 1)  # type: ignore[arg-type]
    most = sorted(opcodes.items(), key=lambda item: -item[1][1])
    text = ", ".join(f"{name} {often} × {used / often:.0f}" for name, (often, used) in most[:6])
    return str(total), f"{each:.1f}", text
