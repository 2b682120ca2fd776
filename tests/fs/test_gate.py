"""Which request is served, waits or is refused, in every mode."""

from __future__ import annotations

import itertools
import threading

import pytest

from phonevault.fuse import abi
from phonevault.fuse.abi import Opcode
from phonevault.fuse.device import parse
from phonevault.fuse.gate import Gate, Hold, Mode, Verdict
from phonevault.fuse.request import Operations, Request

SERVE, WAITS, REFUSE = Verdict.SERVE, Verdict.WAITS, Verdict.REFUSE
ORDINARY, KEYLESS, ASKED, DRAINS = Opcode.READ, Opcode.FORGET, Opcode.SETATTR, Opcode.WRITE


@pytest.fixture
def gate() -> Gate:
    return Gate(
        Operations(
            handlers={},
            init_flags=0,
            max_write=0,
            scratch_bytes=0,
            needs_no_keys=frozenset({KEYLESS}),
            keyless=lambda request: request.opcode == ASKED,
            drains=frozenset({DRAINS}),
            dirty_nodes=list,
            known_nodes=list,
            scrub=list,
            agreed=lambda _: None,
            take_back=lambda opcode, body: None,
        )
    )


def request(opcode: int, unique: int = 1, body: bytes = b"") -> Request:
    made = Request(0)
    made.opcode, made.unique, made.body = opcode, unique, memoryview(body)
    return made


def verdicts(gate: Gate) -> tuple[Verdict, ...]:
    return tuple(gate.judge(request(opcode)) for opcode in (ORDINARY, KEYLESS, ASKED, DRAINS))


def waiting(gate: Gate) -> list[int]:
    found, back = [], Request(0)
    for message in gate.waiting():
        parse(memoryview(message), len(message), back)
        found.append(back.unique)
    return found


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (Mode.OPEN, (SERVE, SERVE, SERVE, SERVE)),
        (Mode.FROZEN, (WAITS, SERVE, SERVE, WAITS)),
        (Mode.DRAINING, (WAITS, SERVE, SERVE, SERVE)),
        (Mode.LOCKED, (REFUSE, SERVE, SERVE, REFUSE)),
    ],
)
def test_each_mode(gate: Gate, mode: Mode, expected: tuple[Verdict, ...]) -> None:
    gate.change(mode)
    assert gate.mode is mode
    assert (gate.is_open, gate.is_locked) == (mode is Mode.OPEN, mode is Mode.LOCKED)
    assert verdicts(gate) == expected
    assert len(waiting(gate)) == expected.count(WAITS)


@pytest.mark.parametrize("mode", [Mode.OPEN, Mode.FROZEN, Mode.DRAINING])
def test_who_holds_the_tree_has_it_for_himself(gate: Gate, mode: Mode) -> None:
    gate.change(mode)
    gate.hold(Hold.COMING)
    assert not gate.is_open
    assert verdicts(gate)[:3] == (WAITS, WAITS, WAITS)
    assert gate.judge(request(DRAINS)) is (WAITS if mode is Mode.FROZEN else SERVE)
    gate.hold(Hold.STILL)
    assert verdicts(gate) == (WAITS,) * 4
    gate.hold(Hold.NONE)
    assert gate.is_open is (mode is Mode.OPEN)


def test_a_locked_mount_waits_for_nobody(gate: Gate) -> None:
    gate.hold(Hold.STILL)
    gate.change(Mode.LOCKED)
    assert verdicts(gate) == (REFUSE, SERVE, SERVE, REFUSE)


def test_what_waited_comes_back_as_it_was_and_is_overwritten(gate: Gate) -> None:
    gate.change(Mode.FROZEN)
    asked = request(Opcode.WRITE, 7, b"plaintext")
    asked.nodeid, asked.uid, asked.gid, asked.pid = 2, 3, 4, 5
    assert gate.judge(asked) is WAITS
    kept, back = [], Request(0)
    for message in gate.waiting():
        parse(memoryview(message), len(message), back)
        assert bytes(back.body) == b"plaintext"
        assert (back.opcode, back.unique, back.nodeid, back.uid, back.gid, back.pid) == (16, 7, 2, 3, 4, 5)
        kept.append(message)
    assert [any(message) for message in kept] == [False]
    assert waiting(gate) == []


def test_a_mode_is_changed_only_from_another_one_if_so_wanted(gate: Gate) -> None:
    gate.change(Mode.LOCKED)
    gate.change(Mode.FROZEN, only_from=Mode.OPEN)
    assert gate.mode is Mode.LOCKED
    gate.change(Mode.OPEN)
    gate.change(Mode.FROZEN, only_from=Mode.OPEN)
    assert gate.mode is Mode.FROZEN


def test_messages_are_overwritten_though_one_cannot_be_taken_up(gate: Gate) -> None:
    gate.change(Mode.FROZEN)
    for unique in (1, 2):
        gate.judge(request(Opcode.WRITE, unique, b"plaintext"))
    kept = gate._waiting
    with pytest.raises(ZeroDivisionError):
        for _ in gate.waiting():
            1 / 0  # noqa: B018
    assert [any(message) for message in kept] == [False, False]


def test_one_that_waits_is_withdrawn(gate: Gate) -> None:
    gate.change(Mode.FROZEN)
    for unique in (1, 2, 3):
        gate.judge(request(ORDINARY, unique))
    kept = gate._waiting[1]
    assert gate.withdraw(2) and not any(kept)
    assert not gate.withdraw(2) and not gate.withdraw(abi.ROOT_ID + 8)
    assert waiting(gate) == [1, 3]


def test_open_means_open_and_held_by_nobody_whoever_says_it_last(gate: Gate) -> None:
    """Two threads that change mode and hold: no order leaves the gate open while one of both says no."""
    rounds = 300

    def change() -> None:
        for mode in itertools.islice(itertools.cycle((Mode.OPEN, Mode.FROZEN)), rounds):
            gate.change(mode)

    def hold() -> None:
        for wanted in itertools.islice(itertools.cycle((Hold.STILL, Hold.NONE)), rounds):
            gate.hold(wanted)

    threads = [threading.Thread(target=act) for act in (change, hold)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gate.mode is Mode.FROZEN and not gate.is_open
    gate.change(Mode.OPEN)
    assert gate.is_open
