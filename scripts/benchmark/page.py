"""Tables and pictures of earlier runs into docs/performance.md: what stands between two marks there is written anew."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmark import comparison, curves, plot, ratios, roundtrip, scaling

DOCS = Path(__file__).parents[2] / "docs"
PAGE = "performance.md"
_BUSY = 0.5
"""Load for each core at which a run is said to have been disturbed."""

Found = Mapping[str, Any]


def run(arguments: argparse.Namespace) -> int:
    """Writes the page and the pictures; returns the exit code."""
    page = DOCS / PAGE
    text = page.read_text()
    for file in arguments.file:
        found = json.loads(file.read_text())
        if found["subject"] not in _BLOCKS:
            raise SystemExit(f"error: {file}: {found['subject']} has no tables in {PAGE}")
        for name, block in _BLOCKS[found["subject"]](found).items():
            text = replaced(text, name, block)
        _draw(found)
    page.write_text(text)
    return 0


def replaced(text: str, name: str, block: str) -> str:
    """A page with other contents between the marks of that name.

    Raises:
        SystemExit: they are not there once each, in this order.
    """
    begin, end = f"<!-- bench: {name} -->", f"<!-- end of bench: {name} -->"
    pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise SystemExit(f"error: {PAGE} lacks the marks {begin} and {end}")
    return pattern.sub(lambda _: f"{begin}\n{block.strip()}\n{end}", text)


def of_throughput(found: Found) -> dict[str, str]:
    """Its block: all tables, and the picture."""
    plan = found["plan"]
    what = f"{plan['rounds']} rounds, {plan['stream_mib']} MiB and a tree of {plan['entries']:,} entries"
    title, first = next(tables := comparison.tables(found))
    parts = [f"{machine(found)} {what}. {title.capitalize()}.", first.markdown(), means(found)]
    parts.append("The same as a picture: [throughput.png](throughput.png), [throughput.svg](throughput.svg).")
    for title, grid in tables:
        parts += [f"{title[0].upper()}{title[1:]}:", grid.markdown()]
    return {"throughput": "\n\n".join(parts)}


def means(found: Found) -> str:
    """Geometric means as a sentence."""
    said = [
        f"{ours} {told['geometric_means'][ratios.REFERENCE]:.2f} × {ratios.REFERENCE} and "
        f"{told['geometric_means']['best peer']:.2f} × the best peer of each workload"
        for ours, told in found["ratios"].items()
        if None not in told["geometric_means"].values()
    ]
    return f"Geometric means of the rates: {'; '.join(said)}." if said else ""


def of_scaling(found: Found) -> dict[str, str]:
    """A block for each part."""
    blocks = {}
    for name, part in found["parts"].items():
        rounds = f"{part['rounds']} round{'s' if part['rounds'] > 1 else ''}"
        lines = [f"{machine(found)} {rounds}, medians.", scaling.table(name, part).markdown()]
        if "sizes" in part:
            stem = f"scaling-{name}"
            lines.append(f"The same as a picture: [{stem}.png]({stem}.png), [{stem}.svg]({stem}.svg).")
        blocks[f"scaling {name}"] = "\n\n".join(lines)
    return blocks


def of_roundtrip(found: Found) -> dict[str, str]:
    """Its block."""
    line = f"Of a heartbeat, {found['line_ms']:.1f} ms are the bytes on a line of {found['baud']:,} baud."
    head = f"{machine(found)} {found['rounds']} rounds, medians (smallest to largest). {line}"
    return {"roundtrip": f"{head}\n\n{roundtrip.table(found['times_ms']).markdown()}"}


def machine(found: Found) -> str:
    """When and where, and whether the machine did other work."""
    told = found["machine"]
    busy = float(told["load"]) > _BUSY * int(told["cores"]) + 1  # the benchmark itself is a load of one
    load = f"**load {told['load']}: the machine did other work**" if busy else f"load {told['load']}"
    kernel = ".".join(told["kernel"].split(".")[:2])
    where = f"{told['cpu']}, {told['cores']} cores, Linux {kernel}, Python {told['python']}"
    return f"One run, {found['date']} ({where}, at its end {load}):"


def _draw(found: Found) -> None:
    if found["subject"] == "throughput":
        plot.draw(found, DOCS / "throughput")
    elif found["subject"] == "scaling":
        curves.draw(found, DOCS / "scaling")


_BLOCKS: Mapping[str, Callable[[Found], dict[str, str]]] = {
    "throughput": of_throughput,
    "scaling": of_scaling,
    "roundtrip": of_roundtrip,
}
