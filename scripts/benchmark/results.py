"""Medians, the table and the JSON file."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmark import ratios
from benchmark.grid import Grid, number

Rounds = dict[str, dict[str, list[float]]]
"""Workload → system → one value a round."""


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


def table(series: ratios.Series, units: Mapping[str, str]) -> Grid:
    """Medians by system, then ours divided by the peers' and the geometric mean of that; more is better, but for memory."""
    systems = list(next(iter(series.values())))
    ours = [name for name in ratios.OURS if name in systems]
    columns = [f"{name} ÷ {to}" for name in ours for to in (ratios.REFERENCE, "best peer")]
    found = Grid(["workload", "unit", *systems, *columns], left=2)
    for workload, values in series.items():
        cells = [number(statistics.median(values[system])) for system in systems]
        for name in ours:
            one = ratios.compare(values, name)
            is_rate = units[workload] != "MiB"
            cells += [two_digits(one.to_reference), two_digits(one.to_best if is_rate else None, one.best)]
        found.rows.append([workload, units[workload], *cells])
    rates = {workload: values for workload, values in series.items() if units[workload] != "MiB"}
    for title, trimmed in (("geometric mean", False), ("the same without highest and lowest", True)):
        by_cipher = [ratios.geometric_means(rates, name, trimmed=trimmed) for name in ours]
        means = [two_digits(mean) for of_one in by_cipher for mean in of_one.values()]
        found.rows.append([title, "", *[""] * len(systems), *means])
    return found


def two_digits(value: float | None, of: str = "") -> str:
    """A ratio, and what the divisor belongs to."""
    if value is None or value != value:
        return "–"
    return f"{value:.2f} ({of})" if of else f"{value:.2f}"


def range_table(series: ratios.Series) -> Grid:
    """Smallest and largest value by system, and of ours divided by the reference in each round."""
    systems = list(next(iter(series.values())))
    ours = [name for name in ratios.OURS if name in systems]
    found = Grid(["workload", *systems, *(f"{name} ÷ {ratios.REFERENCE}" for name in ours)])
    for workload, values in series.items():
        cells = [f"{number(min(values[system]))} to {number(max(values[system]))}" for system in systems]
        for name in ours:
            one = ratios.compare(values, name)
            cells.append(f"{two_digits(one.lowest)} to {two_digits(one.highest)}")
        found.rows.append([workload, *cells])
    return found


def cost_table(series: ratios.Series, factor: float) -> Grid:
    """Medians of what the daemons used, multiplied, where there was anything."""
    systems = [system for system in next(iter(series.values())) if system != "plain"]
    found = Grid(["workload", *systems])
    for workload, values in series.items():
        medians = [statistics.median(values[system]) for system in systems]
        if any(medians):
            found.rows.append([workload, *(f"{median * factor:,.0f}" for median in medians)])
    return found


def memory_table(memory: Mapping[str, Mapping[str, float]]) -> Grid:
    """What each daemon holds, MiB."""
    systems = list(memory)
    found = Grid(["MiB", *systems])
    for name, told in (("resident", "rss"), ("proportional", "pss"), ("peak, resident", "peak")):
        found.rows.append([name, *(number(memory[system][told] or None) for system in systems)])
    return found


def spread(values: Sequence[float], unit: str, digits: int = 0) -> str:
    """Median with the smallest and the largest value."""
    low, high = min(values), max(values)
    return (
        f"median {statistics.median(values):.{digits}f} {unit}"
        f" ({low:.{digits}f} to {high:.{digits}f}, {len(values)} times)"
    )


def short_spread(values: Sequence[float]) -> str:
    """Median with the smallest and the largest value, for a table."""
    return f"{number(statistics.median(values))} ({number(min(values))} to {number(max(values))})"


def write_json(path: Path | None, subject: str, content: Mapping[str, Any]) -> None:
    """Everything measured, every round."""
    if path is not None:
        told = {"subject": subject, "date": time.strftime("%Y-%m-%d"), "machine": machine(), **content}
        path.write_text(json.dumps(told, indent=2) + "\n")


def console() -> Console:
    """The terminal, or plain lines wide enough for the table."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=190)


def median_or_none(values: Sequence[float]) -> float | None:
    """Of nothing, None."""
    return statistics.median(values) if values else None
