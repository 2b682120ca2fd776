"""How rates change with size: entries of a directory, bytes of a file, files of a tree, programs at once; against the peers."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark import big_tree, cells, comparison, curves, fresh_memory, peers, ratios, results, sizes
from benchmark.cells import Limits, Part
from benchmark.grid import Grid, number
from benchmark.systems import System

PARTS = ("directories", "files", "tree", "clients")
ONCE_S = 6.0
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints part after part; returns the exit code."""
    console = results.console()
    limits = Limits(arguments.rounds, arguments.cell_s, ONCE_S, arguments.part_minutes * 60)
    found: dict[str, Any] = {"parts": {}}
    fresh_memory.use_up()
    with comparison.working_directory(arguments.base) as here:
        for name in arguments.part or PARTS:
            kinds = comparison.installed(_candidates(name, arguments.systems), arguments.systems)
            if name == "tree":
                found["parts"][name] = big_tree.measure(kinds, here, arguments.tree, limits)
            else:
                part = _part(name, arguments)
                found["parts"][name] = cells.measure(part, kinds, here, limits).as_json()
            console.print(f"{name}:", end="\n\n")
            table(name, found["parts"][name]).show(console)
            results.write_json(arguments.json, "scaling", found)  # what is there so far
    if arguments.plot is not None:
        curves.draw(found, arguments.plot)
    return 0


def _part(name: str, arguments: argparse.Namespace) -> Part:
    if name == "directories":
        return sizes.directories(arguments.max_entries)
    return sizes.files(arguments.max_size) if name == "files" else sizes.concurrent()


def _candidates(part: str, named: Sequence[str]) -> Sequence[type[System]]:
    """Where contents have no part, one of our ciphers, and unless systems are named no peer that needs minutes for so many entries."""
    return peers.ALL if named or part in ("files", "clients") else peers.OF_ONE_DIRECTORY


def size_of(text: str) -> int:
    """Bytes of "1GiB", "64MiB", "4096".

    Raises:
        ValueError: it is none.
    """
    for unit, factor in _UNITS.items():
        if text.endswith(unit):
            return int(text.removesuffix(unit)) * factor
    return int(text)


def shown(size: int, axis: str) -> str:
    """As a person writes it."""
    if axis == "bytes":
        for unit, factor in reversed(_UNITS.items()):
            if size >= factor and size % factor == 0:
                return f"{size // factor} {unit}"
    return f"{size:,}"


def table(name: str, part: Mapping[str, Any]) -> Grid:
    """Medians by measure, size and system, then ours divided by the peers'; for what is not there, why."""
    if name == "tree":
        return big_tree.table(part)
    systems = list(next(iter(part["values"].values())))
    ours = next((each for each in ratios.OURS if each in systems), None)
    columns = [f"{ours} ÷ {ratios.REFERENCE}", f"{ours} ÷ best peer"] if ours else []
    grid = Grid(["measured", "unit", part["axis"], *systems, *columns], left=2)
    for measure, by_system in part["values"].items():
        for index, size in enumerate(part["sizes"]):
            here = {system: by_system[system][index] for system in systems}
            texts = [
                number(results.median_or_none(here[system]))
                if here[system]
                else _why(part, measure, system, index)
                for system in systems
            ]
            told = _ratios(here, ours) if ours else []
            unit = part["units"][measure]
            grid.rows.append([measure, unit, shown(size, part["axis"]), *texts, *told])
    return grid


def _why(part: Mapping[str, Any], measure: str, system: str, index: int) -> str:
    return str(part["left_out"][measure][system][index]) or "–"


def _ratios(here: Mapping[str, Sequence[float]], ours: str) -> list[str]:
    if not here[ours]:
        return ["–", "–"]
    one = ratios.compare(here, ours)
    return [results.two_digits(one.to_reference), results.two_digits(one.to_best, one.best)]
