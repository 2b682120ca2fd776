"""Sleep: what the daemon does about it, and what it cannot.

The daemon compares CLOCK_BOOTTIME with CLOCK_MONOTONIC (`phonevault.daemon.clock`): it notices a suspend within a
second of waking up and locks then. It holds no inhibitor of logind: while the computer sleeps the keys of an
unlocked folder are in its memory, and in the image of a hibernation.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from phonevault.doctor.finding import Finding, fine, not_applicable, warning

_LOCK_FIRST = "before: `phonevault lock --all`"


@dataclass(frozen=True)
class Facts:
    """What was seen.

    Attributes:
        states: Of /sys/power/state ("freeze", "mem", "disk"), empty if the system cannot sleep.
        counts_suspend: There is a CLOCK_BOOTTIME, not behind CLOCK_MONOTONIC.
    """

    states: frozenset[str]
    counts_suspend: bool


def look() -> list[Finding]:
    """Observe and judge."""
    try:
        states = Path("/sys/power/state").read_text(encoding="ascii", errors="replace").split()
    except OSError:
        states = []
    behind_s = time.clock_gettime(time.CLOCK_MONOTONIC) - time.clock_gettime(time.CLOCK_BOOTTIME)
    return [judge(Facts(frozenset(states), behind_s < 1.0))]


def judge(facts: Facts) -> Finding:
    """One finding."""
    if not facts.counts_suspend:
        return warning("sleep", "the clocks do not show a suspend: the daemon cannot notice one", _LOCK_FIRST)
    if not facts.states:
        return not_applicable("sleep", "this system cannot sleep")
    if "disk" in facts.states:
        return warning(
            "sleep",
            "a folder locks within a second of waking up, not before; hibernation writes its keys to the disk",
            f"{_LOCK_FIRST}, or encrypt the swap space that takes the image",
        )
    found = "a folder locks within a second of waking up, not before: asleep, its keys are in memory"
    return fine("sleep", found, _LOCK_FIRST)
