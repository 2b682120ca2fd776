"""Rates over size as pictures, one a part: PNG and SVG."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark import plot

_TO_BASE_TWO = ("bytes", "clients")


def draw(found: Mapping[str, Any], stem: Path) -> None:
    """Curves of each system's median, one diagram a measure; STEM-PART.png and .svg. What was not measured is not drawn.

    Args:
        found: as ``scripts/bench scaling`` writes it; a part without sizes has no picture.
    """
    for name, part in found["parts"].items():
        if "sizes" in part:
            _draw_part(part, stem.with_name(f"{stem.name}-{name}"))


def points(sizes: Sequence[int], values: Sequence[Sequence[float]]) -> tuple[list[int], list[float]]:
    """Where something was measured, and the medians there."""
    measured = [(size, statistics.median(each)) for size, each in zip(sizes, values, strict=True) if each]
    return [size for size, _ in measured], [median for _, median in measured]


def _draw_part(part: Mapping[str, Any], stem: Path) -> None:
    pyplot = plot.load_pyplot()
    measures = part["values"]
    columns = 2 if len(measures) in (2, 4) else 3
    rows = -(-len(measures) // columns)
    figure, grid = pyplot.subplots(
        rows, columns, figsize=(4.6 * columns, 3.3 * rows + 0.4), layout="constrained", squeeze=False
    )
    for axes, (measure, by_system) in zip(grid.flat, measures.items(), strict=False):
        for system, values in by_system.items():
            places, rates = points(part["sizes"], values)
            axes.plot(places, rates, marker="o", markersize=4, label=system, color=plot.colour(system))
        axes.set_xscale("log", base=2 if part["axis"] in _TO_BASE_TWO else 10)
        axes.set_yscale("log")
        if part["axis"] == "clients":
            axes.set_xticks(part["sizes"], [str(size) for size in part["sizes"]])
        axes.set_title(measure, fontsize=10)
        axes.set_xlabel(part["axis"])
        axes.set_ylabel(part["units"][measure])
        axes.grid(visible=True, linewidth=0.3)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    plot.save(figure, stem)
