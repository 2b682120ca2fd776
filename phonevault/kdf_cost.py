"""What a new passphrase costs to try: Argon2id made as hard as this computer can bear in about a second.

`choose` decides and is pure; the rest measures. Not less than RFC 9106, section 4, recommends where memory is scarce; not
more memory than the computer has to spare, nor more work than the header's bounds leave to the slots still to come.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from keyslots.errors import BadParameter, KdfMemory
from keyslots.header import MAX_SLOTS, MAX_TOTAL_WORK_KIB, Header, passphrase_part
from keyslots.slots import passphrase
from keyslots.slots.passphrase import ITERATIONS, MAX_WORK_KIB, Cost

TARGET_S = 1.0
LEAST = Cost(64 * 1024, 3, 4)
"""The second option of RFC 9106, section 4: 64 MiB, 3 passes, 4 lanes."""
MOST_MEMORY_KIB = 1024 * 1024
"""A vault should open on a smaller computer, too."""

_TRIALS = 3
_STEP_KIB = 1024
_MEMINFO = Path("/proc/meminfo")
_OWN_CGROUP = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


def choose(least_s: float, memory_kib: int, work_kib: int) -> Cost:
    """Return the cost of about `TARGET_S` seconds: memory first, then passes. Pure.

    Args:
        least_s: seconds that one derivation at `LEAST` takes here.
        memory_kib: memory that may be used.
        work_kib: bound of memory × passes.
    """
    work = min(int(LEAST.work_kib * TARGET_S / max(least_s, 1e-6)), work_kib, MAX_WORK_KIB)
    memory = min(work // LEAST.iterations, memory_kib, MOST_MEMORY_KIB) // _STEP_KIB * _STEP_KIB
    memory = max(memory, LEAST.memory_kib)
    passes = min(max(work // memory, LEAST.iterations), ITERATIONS[1])
    return Cost(memory, passes, LEAST.lanes)


def new_cost(
    header: Header | None = None,
    replaced: int | None = None,
    *,
    seconds_of: Callable[[Cost], float] | None = None,
) -> Cost:
    """Measure this computer and return the cost for a new passphrase.

    Args:
        header: of the vault that it is for; None for a new vault.
        replaced: id of the slot that it takes the place of.
        seconds_of: takes the time of one derivation; this computer's if omitted.

    Raises:
        BadParameter: the header's passphrases cost as much as all together may.
    """
    work = work_left_kib(header, replaced)
    measure = seconds_of or seconds
    try:
        # The quickest counts: a computer that is busy just now must not make a passphrase cheap for ever.
        least_s = min(measure(LEAST) for _ in range(_TRIALS))
    except KdfMemory:
        return LEAST  # tried again for the slot itself, which then says what is missing
    return choose(least_s, spare_memory_kib(), work)


def work_left_kib(header: Header | None, replaced: int | None = None) -> int:
    """Return the bound of memory × passes for one more passphrase; `LEAST` is kept for every slot still free.

    Raises:
        BadParameter: not even `LEAST` is left.
    """
    others = [slot for slot in header.slots if slot.id != replaced] if header is not None else []
    used = sum(part.cost.work_kib for slot in others if (part := passphrase_part(slot.kem)))
    left = MAX_TOTAL_WORK_KIB - used
    if left < LEAST.work_kib:
        raise BadParameter("the passphrases of this vault cost as much as they may together: remove one")
    return max(left - LEAST.work_kib * (MAX_SLOTS - len(others) - 1), LEAST.work_kib)


def seconds(cost: Cost) -> float:
    """Time one derivation.

    Raises:
        KdfMemory: there is not enough memory for it.
    """
    began_s = time.perf_counter()
    passphrase.new_key(bytearray(b"only measured"), cost)
    return time.perf_counter() - began_s


def spare_memory_kib() -> int:
    """Return how much memory a derivation may use: a quarter of all, half of what is free, half of a control group's limit."""
    found = [MOST_MEMORY_KIB, *(limit // 2048 for limit in cgroup_limits())]
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in _MEMINFO.read_text("ascii").splitlines():
            name, _, rest = line.partition(":")
            part = {"MemTotal": 4, "MemAvailable": 2}.get(name)
            if part is not None:
                found.append(int(rest.split()[0]) // part)
    return min(found)


def cgroup_limits() -> list[int]:
    """Bytes: `memory.max` of this process's control group (version 2) and of those above it."""
    limits: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        lines = _OWN_CGROUP.read_text().splitlines()
        own = next((line[3:].strip("/") for line in lines if line.startswith("0::")), "")
        place = _CGROUPS / own
        for group in (place, *place.parents):
            with contextlib.suppress(OSError, ValueError):  # "max", or the top, which has no limit
                limits.append(int((group / "memory.max").read_text()))
            if group == _CGROUPS:
                break
    return limits
