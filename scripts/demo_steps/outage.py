"""The phone walks out of range in the middle of a copy, and comes back."""

from __future__ import annotations

import time
from pathlib import Path

from demo_steps import copier, vault
from demo_steps.programs import Program
from demo_steps.radio import Radio
from demo_steps.world import World

FREEZE_S = 3.0
WIPE_MARGIN_S = 1.0
RETURN_S = 30.0
ASKING_S = 0.5  # one `phonevault status` on a busy machine
REFUSED = 3  # exit code of the copier when the file system answered with an error


class RunningCopy:
    """A copy that makes every file durable before it takes the next."""

    def __init__(self, world: World) -> None:
        self.target = world.mountpoint / "copied while walking"
        self._log = world.root / "acknowledged"
        self._source = world.original
        self.target.mkdir()
        self.program: Program = world.start(
            "the copy", "python", Path(copier.__file__), self._source, self.target, self._log
        )

    def acknowledged(self) -> list[int]:
        """Numbers of the files whose fsync has returned."""
        return [int(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []

    def total(self) -> int:
        """How many files there are to copy."""
        return len(copier.plan(self._source))

    def wait_for(self, count: int, timeout_s: float = 60) -> None:
        """Returns when that many files are durable."""
        deadline = time.monotonic() + timeout_s
        while len(self.acknowledged()) < count and self.program.is_running and time.monotonic() < deadline:
            time.sleep(0.02)

    def lost(self) -> list[int]:
        """Acknowledged files that are not there, or not as they were written."""
        plan = copier.plan(self._source)
        return [index for index in self.acknowledged() if not self._intact(index, plan[index])]

    def _intact(self, index: int, source: Path) -> bool:
        copy = copier.target_of(index, self.target)
        return copy.is_file() and copy.read_bytes() == source.read_bytes()


def walk_away(world: World, radio: Radio) -> RunningCopy:
    """Range off in the middle of a copy: FROZEN, then LOCKED, both in time."""
    copy = RunningCopy(world)
    copy.wait_for(copy.total() // 8)
    world.report.check(
        copy.program.is_running,
        f"a copy is running, {len(copy.acknowledged())} of {copy.total()} files are durable",
    )
    radio.phone_in_range(False)
    left = time.monotonic()
    world.report.show("… the phone is out of range now")
    frozen_s = vault.wait_for_state(world, "frozen", left, FREEZE_S + ASKING_S)
    world.report.check(True, f"FROZEN after {frozen_s:.1f} s: nothing is served, nothing fails yet")
    world.report.check(copy.program.is_running, "the copy waits")
    limit_s = vault.GRACE_S + WIPE_MARGIN_S + ASKING_S
    locked_s = vault.wait_for_state(world, "locked", left, limit_s)
    world.report.check(
        True, f"LOCKED after {locked_s:.1f} s: the keys are wiped (grace {vault.GRACE_S:.0f} s)"
    )
    return copy


def come_back(world: World, radio: Radio) -> None:
    """Range on: it unlocks without anybody doing anything."""
    radio.phone_in_range(True)
    back = time.monotonic()
    took_s = vault.wait_for_state(world, "unlocked", back, RETURN_S)
    world.report.check(True, f"UNLOCKED {took_s:.1f} s after the phone came back, by itself")
    vault.check_readable(world)


def settle(world: World, copy: RunningCopy) -> None:
    """The copy has ended in one of two honest ways, and what was durable is whole."""
    code = copy.program.wait(60)
    world.report.show(f"the copy says: {copy.program.screen.strip()}")
    clean = code == 0 or (code == REFUSED and vault.REFUSAL in copy.program.screen)
    world.report.check(
        clean, "the copy was " + ("completed" if code == 0 else "refused cleanly"), copy.program.screen
    )
    lost = copy.lost()
    count = len(copy.acknowledged())
    world.report.check(
        count > 0 and not lost, f"all {count} files acknowledged by fsync are intact", f"lost: {lost[:10]}"
    )
