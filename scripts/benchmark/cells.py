"""Measurements over a size: every system at every size, in interleaved rounds. What takes too long is left out by name."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from benchmark import comparison, daemons
from benchmark.systems import System


@dataclass(frozen=True)
class Part:
    """One axis to measure along.

    Attributes:
        axis: what a size counts.
        sizes: ascending.
        units: by measure, in the order in which they are measured.
        measure: yields each measure's name and rate, more being better; leaves the folder as it was.
        prepare: run once on a new folder.
        space_bytes: what a size takes in the directory below, and in memory.
        grows: a larger size is more work.
    """

    name: str
    axis: str
    sizes: Sequence[int]
    units: Mapping[str, str]
    measure: Callable[[System, int], Iterator[tuple[str, float]]]
    prepare: Callable[[System], None] = lambda system: None
    space_bytes: Callable[[int], int] = lambda size: 0
    grows: bool = True


@dataclass(frozen=True)
class Limits:
    """How long it may take.

    Attributes:
        rounds: at most so many.
        cell_s: one measure of one system at one size, mounting included; what takes longer is left out, and so are larger sizes.
        once_s: a system at a size that took longer in the first round is not repeated.
        part_s: no round is begun that would likely end later than that.
    """

    rounds: int
    cell_s: float
    once_s: float
    part_s: float


@dataclass
class Found:
    """Values of a part.

    Attributes:
        values: measure → system → for each size, a value a round.
        left_out: measure → system → for each size why it was left out, or ""; in parentheses what was foreseen and not tried.
        seconds: system → for each size how long all its measures took, mounting included.
        timed_s: the same without mounting.
        rounds: how many there were.
    """

    part: Part
    values: dict[str, dict[str, list[list[float]]]]
    left_out: dict[str, dict[str, list[str]]]
    seconds: dict[str, list[float]] = field(default_factory=dict)
    timed_s: dict[str, list[float]] = field(default_factory=dict)
    rounds: int = 0

    @classmethod
    def nothing(cls, part: Part, systems: Sequence[str]) -> Found:
        """Before the first round."""
        return cls(
            part,
            {each: {system: [[] for _ in part.sizes] for system in systems} for each in part.units},
            {each: {system: [""] * len(part.sizes) for system in systems} for each in part.units},
            *({system: [0.0] * len(part.sizes) for system in systems} for _ in range(2)),
        )

    def leave_out(self, system: str, first: int, why: str) -> None:
        """This size and all larger ones, where there is no value yet."""
        for measure, by_system in self.left_out.items():
            for index in range(first, len(self.part.sizes)):
                if not self.values[measure][system][index]:
                    by_system[system][index] = by_system[system][index] or why

    def why_not(self, system: str, index: int, limits: Limits) -> str:
        """Why a cell is not to be measured for the first time: it would take too long; "" if it may be."""
        if any(by_system[system][index] for by_system in self.left_out.values()):
            return "left out before"
        if index == 0 or not self.part.grows:
            return ""
        sizes = self.part.sizes
        foreseen_s = self.timed_s[system][index - 1] * sizes[index] / sizes[index - 1]
        # Of at most four measures together, and starting up is most of a small cell.
        if self.timed_s[system][index - 1] > 1 and foreseen_s > 4 * limits.cell_s:
            return f"(> {limits.cell_s:.0f} s)"
        return ""

    def next_round_s(self, limits: Limits) -> float:
        """How long another round likely takes."""
        return sum(each for by_size in self.seconds.values() for each in by_size if each <= limits.once_s)

    def as_json(self) -> dict[str, object]:
        """All of it."""
        return {
            "axis": self.part.axis,
            "sizes": list(self.part.sizes),
            "units": dict(self.part.units),
            "rounds": self.rounds,
            "values": self.values,
            "left_out": self.left_out,
            "seconds": self.seconds,
        }


class OutOfTime(Exception):
    """A measurement was broken off."""


@contextmanager
def bounded(seconds: float) -> Iterator[Callable[[], None]]:
    """Break the body off after that time, wherever the main thread is; what is yielded begins the time anew.

    Raises:
        OutOfTime: it took longer.
    """

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)

    def wind() -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)

    wind()
    try:
        yield wind
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def measure(part: Part, kinds: Sequence[type[System]], here: Path, limits: Limits) -> Found:
    """All rounds of a part."""
    found = Found.nothing(part, [kind.name for kind in kinds])
    began_s = time.monotonic()
    with ExitStack() as stack:
        mounted = [kind(here / part.name) for kind in kinds]
        for system in mounted:
            stack.callback(comparison.take_away, system)
            _set_up(system, part)
        while found.rounds < limits.rounds:
            for index, size in enumerate(part.sizes):
                for system in comparison.in_turn(mounted, f"{found.rounds} {size}"):
                    _cell(found, system, index, limits)
            found.rounds += 1
            if time.monotonic() - began_s + found.next_round_s(limits) > limits.part_s:
                break
    return found


def _set_up(system: System, part: Part) -> None:
    system.create()
    system.mount()
    part.prepare(system)


def _cell(found: Found, system: System, index: int, limits: Limits) -> None:
    part, name, size = found.part, system.name, found.part.sizes[index]
    if found.rounds:
        if any(by_system[name][index] for by_system in found.left_out.values()):
            return
        if found.seconds[name][index] > limits.once_s:
            return
    elif why := found.why_not(name, index, limits) or _lacks_room(system.home, part.space_bytes(size)):
        found.leave_out(name, index, why)
        return
    began_s, system.timed_s = time.monotonic(), 0.0
    try:
        with bounded(limits.cell_s) as wind:
            for each, rate in part.measure(system, size):
                found.values[each][name][index].append(rate)
                wind()
    except OutOfTime:
        found.leave_out(name, index, f"> {limits.cell_s:.0f} s")
        comparison.take_away(system)
        system.mountpoint.mkdir(parents=True, exist_ok=True)
        _set_up(system, part)
    found.seconds[name][index] = time.monotonic() - began_s
    found.timed_s[name][index] = system.timed_s


def _lacks_room(where: Path, needed_bytes: int) -> str:
    """Why a size does not fit, or ""."""
    if needed_bytes and shutil.disk_usage(where).free < needed_bytes * 5 // 4:
        return "no room"
    # The file itself and the kernel's pages of it; a disk takes the file elsewhere, and pages can be dropped.
    in_memory = where.is_relative_to(comparison.SHARED_MEMORY)
    if (
        in_memory
        and needed_bytes
        and daemons.field(Path("/proc/meminfo"), "MemAvailable") * 1024 < needed_bytes * 2
    ):
        return "no memory"
    return ""
