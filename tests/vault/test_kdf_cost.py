"""What a new passphrase costs: chosen by measuring, within bounds that nothing measured can move."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.headers import CHEAP, made

from keyslots.errors import BadParameter, KdfMemory
from keyslots.header import MAX_SLOTS, MAX_TOTAL_WORK_KIB, Header
from keyslots.slots import passphrase
from keyslots.slots.passphrase import MAX_WORK_KIB, Cost
from phonevault import kdf_cost
from phonevault.kdf_cost import LEAST, MOST_MEMORY_KIB, choose, new_cost, work_left_kib

GIB = 1024 * 1024


def proportional(work_kib_per_s: float) -> Iterator[float]:
    while True:
        yield LEAST.work_kib / work_kib_per_s


@pytest.mark.parametrize(
    ("least_s", "memory_kib", "cost"),
    [
        (1.0, GIB, LEAST),  # the least takes the second already
        (60.0, GIB, LEAST),  # and however slow the computer is, it is never less
        (0.5, GIB, Cost(128 * 1024, 3, 4)),  # memory first
        (0.1, GIB, Cost(640 * 1024, 3, 4)),
        (0.1, 100 * 1024, Cost(100 * 1024, 19, 4)),  # passes where memory is short
        (0.1, 1024, Cost(64 * 1024, 30, 4)),  # but no less memory than the least has
        (0.01, GIB, Cost(GIB, 16, 4)),  # the header's bound of one slot: 16 GiB
        (1e-9, GIB, Cost(GIB, 16, 4)),
        (0.0, 64 * 1024, Cost(64 * 1024, 64, 4)),  # 64 passes are the most
    ],
)
def test_the_cost_chosen(least_s: float, memory_kib: int, cost: Cost) -> None:
    assert choose(least_s, memory_kib, MAX_WORK_KIB) == cost


@given(
    st.floats(0, 1e6), st.integers(0, 2**40), st.integers(LEAST.work_kib, MAX_TOTAL_WORK_KIB), st.floats(1, 8)
)
def test_every_cost_chosen_is_one_that_headers_take(
    least_s: float, memory_kib: int, work_kib: int, faster: float
) -> None:
    cost = choose(least_s, memory_kib, work_kib)
    cost.check()
    assert cost.work_kib <= work_kib
    assert cost.memory_kib >= LEAST.memory_kib and cost.iterations >= LEAST.iterations
    assert cost.memory_kib <= max(memory_kib, LEAST.memory_kib)
    quicker = choose(least_s / faster, memory_kib, work_kib)
    assert quicker.memory_kib >= cost.memory_kib  # a faster computer never makes it cheaper


def test_the_quickest_of_several_measurements_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kdf_cost, "spare_memory_kib", lambda: GIB)
    times = iter([5.0, 0.5, 0.9])
    asked: list[Cost] = []

    def measure(cost: Cost) -> float:
        asked.append(cost)
        return next(times)

    assert new_cost(seconds_of=measure) == Cost(128 * 1024, 3, 4)
    assert asked == [LEAST] * 3


def test_without_memory_to_measure_it_is_the_least(monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(_: Cost) -> float:
        raise KdfMemory

    assert new_cost(seconds_of=hungry) == LEAST


def test_this_computer_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    derived: list[Cost] = []
    real = passphrase.new_key

    def counted(secret: bytearray, cost: Cost) -> passphrase.PassphraseKem:
        derived.append(cost)
        return real(secret, CHEAP)

    monkeypatch.setattr(passphrase, "new_key", counted)
    new_cost().check()
    assert derived == [LEAST] * 3


def with_costs(*costs: Cost) -> Header:
    header = made().header
    slot = header.slots[1]
    assert isinstance(slot.kem, passphrase.PassphraseKem)
    kem = slot.kem
    slots = tuple(
        dataclasses.replace(slot, id=number, kem=dataclasses.replace(kem, cost=cost))
        for number, cost in enumerate(costs)
    )
    return dataclasses.replace(header, slots=slots)


def test_all_slots_of_a_header_can_be_passphrases() -> None:
    """The first ones may cost all they like: the least is kept for those that come after."""
    costs: list[Cost] = []
    for _ in range(MAX_SLOTS):
        costs.append(choose(0.0, GIB, work_left_kib(with_costs(*costs))))
    assert costs[0] == Cost(GIB, 16, 4)
    assert costs[-1].work_kib >= LEAST.work_kib
    assert sum(cost.work_kib for cost in costs) <= MAX_TOTAL_WORK_KIB


def test_a_slot_that_is_replaced_makes_room() -> None:
    full = with_costs(Cost(4 * GIB, 4, 4), Cost(4 * GIB, 4, 4))
    with pytest.raises(BadParameter, match="remove one"):
        work_left_kib(full)
    assert work_left_kib(full, replaced=1) == 16 * GIB - 30 * LEAST.work_kib


# -- what the computer has -----------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A computer with much memory and no control groups, as files below a directory."""
    monkeypatch.setattr(kdf_cost, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(kdf_cost, "_OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(kdf_cost, "_CGROUPS", tmp_path / "groups")
    (tmp_path / "meminfo").write_text("MemTotal: 67108864 kB\nMemFree: 1 kB\nMemAvailable: 33554432 kB\n")
    return tmp_path


def test_memory_is_a_part_of_what_there_is(machine: Path) -> None:
    assert kdf_cost.spare_memory_kib() == MOST_MEMORY_KIB
    (machine / "meminfo").write_text("MemTotal: 2000000 kB\nMemAvailable: 1900000 kB\n")
    assert kdf_cost.spare_memory_kib() == 500000
    (machine / "meminfo").write_text("MemTotal: 2000000 kB\nMemAvailable: 300000 kB\n")
    assert kdf_cost.spare_memory_kib() == 150000


@pytest.mark.parametrize("text", [None, "", "MemTotal:\n", "MemTotal: much kB\n", "\xff"])
def test_a_computer_that_does_not_say(machine: Path, text: str | None) -> None:
    (machine / "meminfo").unlink()
    if text is not None:
        (machine / "meminfo").write_text(text)
    assert kdf_cost.spare_memory_kib() == MOST_MEMORY_KIB


def test_the_limit_of_any_control_group_above_counts(machine: Path) -> None:
    inner = machine / "groups" / "user.slice" / "session"
    inner.mkdir(parents=True)
    (machine / "own").write_text("4:memory:/old\n0::/user.slice/session\n")
    (inner / "memory.max").write_text("max\n")
    assert kdf_cost.spare_memory_kib() == MOST_MEMORY_KIB
    (inner.parent / "memory.max").write_text(f"{512 * 1024 * 1024}\n")
    assert kdf_cost.spare_memory_kib() == 256 * 1024
