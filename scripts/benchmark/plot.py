"""The ratios of a run as a picture: PNG and SVG. Needs matplotlib, the optional extra ``bench``."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark import peers
from benchmark.systems import Phonevault, Plain

_MEMORY = "daemon's memory"


def run(arguments: argparse.Namespace) -> int:
    """Draws the JSON file of an earlier run; returns the exit code."""
    found = json.loads(arguments.file.read_text())
    if found["subject"] == "scaling":
        from benchmark import curves

        curves.draw(found, arguments.plot)
    else:
        draw(found, arguments.plot)
    return 0


def draw(found: Mapping[str, Any], stem: Path) -> None:
    """Bars of each system's median divided by ours, one group a workload.

    Args:
        found: as ``results.write_json`` writes it.
        stem: path of the pictures without their suffix.

    Raises:
        SystemExit: matplotlib is missing.
    """
    pyplot = load_pyplot()
    rounds = {name: values for name, values in found["rounds"].items() if name != _MEMORY}
    systems = [name for name in next(iter(rounds.values())) if name != Plain.name]
    figure, axes = pyplot.subplots(figsize=(9, 0.62 * len(rounds) + 1.2), layout="constrained")
    height = 0.84 / len(systems)
    for number, system in enumerate(systems):
        places = [row + number * height for row in range(len(rounds))]
        ratios = [_ratio(values, system) for values in rounds.values()]
        axes.barh(places, ratios, height, label=system, color=colour(system))
    axes.set_yticks([row + 0.42 - height / 2 for row in range(len(rounds))], list(rounds))
    axes.invert_yaxis()
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel(f"rate divided by that of {Phonevault.name}; to the right of 1 is faster")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(systems), frameon=False)
    save(figure, stem)


def load_pyplot() -> Any:
    """Matplotlib's, drawing to files.

    Raises:
        SystemExit: matplotlib is missing.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise SystemExit("error: no matplotlib\nhint: .venv/bin/pip install -e '.[bench]'") from None
    matplotlib.rcParams["svg.hashsalt"] = "phonevault"
    return pyplot


def colour(system: str) -> str:
    """The same for a system in every picture (matplotlib's own series)."""
    return f"C{[kind.name for kind in peers.ALL].index(system)}"


def save(figure: Any, stem: Path) -> None:
    """As STEM.png and STEM.svg, the same bytes for the same values."""
    for suffix, extra in ((".png", {"dpi": 110}), (".svg", {"metadata": {"Date": None}})):
        figure.savefig(stem.with_name(stem.name + suffix), **extra)
    pyplot = load_pyplot()
    pyplot.close(figure)


def _ratio(values: Mapping[str, list[float]], system: str) -> float:
    return statistics.median(values[system]) / statistics.median(values[Phonevault.name])
