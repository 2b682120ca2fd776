"""Medians, the table and the JSON file."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

Series = Mapping[str, Mapping[str, Sequence[float]]]
"""Workload → system → one value a round."""
Rounds = dict[str, dict[str, list[float]]]
"""The same while it grows."""


def machine() -> dict[str, str | int]:
    """What the numbers depend on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def table(series: Series, units: Mapping[str, str], ours: str) -> Table:
    """Medians by system, then ours divided by each peer's; in Markdown where it does not go to a terminal."""
    systems = list(next(iter(series.values())))
    found = Table(box=box.ROUNDED if console().is_terminal else box.MARKDOWN)
    found.add_column("workload")
    found.add_column("unit")
    for system in systems:
        found.add_column(system, justify="right")
    for peer in systems:
        if peer != ours:
            found.add_column(f"÷ {peer}", justify="right")
    for workload, values in series.items():
        medians = {system: statistics.median(values[system]) for system in systems}
        ratios = [f"{medians[ours] / medians[peer]:.2f}" for peer in systems if peer != ours]
        cells = [f"{medians[system]:,.0f}" for system in systems]
        found.add_row(workload, units[workload], *(cell.replace("nan", "–") for cell in cells + ratios))
    return found


def processor_table(series: Series) -> Table:
    """Medians of the daemons' processor time, in ms, of what was timed at all."""
    found = Table(box=box.ROUNDED if console().is_terminal else box.MARKDOWN)
    found.add_column("workload")
    systems = [system for system in next(iter(series.values())) if system != "plain"]
    for system in systems:
        found.add_column(system, justify="right")
    for workload, values in series.items():
        medians = [statistics.median(values[system]) for system in systems]
        if any(medians):
            found.add_row(workload, *(f"{seconds * 1000:,.0f}" for seconds in medians))
    return found


def spread(values: Sequence[float], unit: str, digits: int = 0) -> str:
    """Median with the smallest and the largest value."""
    low, high = min(values), max(values)
    return (
        f"median {statistics.median(values):.{digits}f} {unit}"
        f" ({low:.{digits}f} to {high:.{digits}f}, {len(values)} times)"
    )


def write_json(path: Path | None, subject: str, content: Mapping[str, Any]) -> None:
    """Everything measured, every round."""
    if path is not None:
        path.write_text(json.dumps({"subject": subject, "machine": machine(), **content}, indent=2) + "\n")


def console() -> Console:
    """The terminal, or plain lines wide enough for the table."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=190)
