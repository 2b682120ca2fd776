"""Our rate divided by the peers', and the geometric mean of that over all workloads."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmark.peers import Gocryptfs
from benchmark.systems import Phonevault, PhonevaultSaving, PhonevaultXts, Plain

Series = Mapping[str, Mapping[str, Sequence[float]]]
"""Workload → system → one value a round."""

REFERENCE = Gocryptfs.name
OURS = (Phonevault.name, PhonevaultXts.name, PhonevaultSaving.name)
_NOT_PEERS = (*OURS, Plain.name)


@dataclass(frozen=True)
class Ratio:
    """Of medians. ``None``: that system was not measured.

    Attributes:
        to_reference: ours ÷ gocryptfs.
        lowest: the same of the round in which it was least.
        highest: the same of the round in which it was most.
        to_best: ours ÷ that of the peer whose median is best.
        best: that peer.
    """

    to_reference: float | None
    lowest: float | None
    highest: float | None
    to_best: float | None
    best: str


def compare(values: Mapping[str, Sequence[float]], ours: str) -> Ratio:
    """One workload's values by system, more being better."""
    medians = {name: statistics.median(found) for name, found in values.items() if found}
    peers = {name: median for name, median in medians.items() if name not in _NOT_PEERS}
    best = max(peers, key=lambda name: peers[name], default="")
    in_rounds = [mine / theirs for mine, theirs in zip(values[ours], values.get(REFERENCE, ()), strict=False)]
    return Ratio(
        to_reference=medians[ours] / peers[REFERENCE] if REFERENCE in peers else None,
        lowest=min(in_rounds, default=None),
        highest=max(in_rounds, default=None),
        to_best=medians[ours] / peers[best] if best else None,
        best=best,
    )


def geometric_means(series: Series, ours: str, *, trimmed: bool = False) -> dict[str, float | None]:
    """Over all workloads: of ours ÷ the reference, and of ours ÷ the best peer of each.

    Args:
        trimmed: leave out the highest and the lowest ratio, so that no single workload makes the mean.
    """
    found = [compare(values, ours) for values in series.values() if values.get(ours)]
    return {
        REFERENCE: _mean([one.to_reference for one in found], trimmed),
        "best peer": _mean([one.to_best for one in found], trimmed),
    }


def _mean(values: Sequence[float | None], trimmed: bool) -> float | None:
    measured = sorted(value for value in values if value is not None)
    if trimmed:
        measured = measured[1:-1]
    return statistics.geometric_mean(measured) if measured else None


def as_json(series: Series) -> dict[str, object]:
    """By each of ours that was measured: the ratios of every workload, and their geometric means."""
    measured = [name for name in OURS if any(values.get(name) for values in series.values())]
    return {
        ours: {
            "workloads": {name: vars(compare(values, ours)) for name, values in series.items()},
            "geometric_means": geometric_means(series, ours),
            "trimmed_means": geometric_means(series, ours, trimmed=True),
        }
        for ours in measured
    }
