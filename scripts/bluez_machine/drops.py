"""Every way in which the phone can go away, measured, and what must hold after each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from demo_steps.report import Report

from bluez_machine.computer import Computer, Watch
from bluez_machine.phone import Phone


@dataclass(frozen=True)
class Times:
    """Seconds of the machine's clock; None where the folder was never locked.

    Attributes:
        event: What happened to the phone.
        frozen_s: From the event until programs wait.
        locked_s: From the event until the keys are wiped.
        unlocked_s: From the phone's return (for one that was never away: from the event) until the folder is open.
    """

    event: str
    frozen_s: float
    locked_s: float | None
    unlocked_s: float


@dataclass(frozen=True)
class Loss:
    """A way in which the phone goes away and comes back."""

    event: str
    go: Callable[[Phone, Computer], object]
    come: Callable[[Phone, Computer], object]


@dataclass(frozen=True)
class Blip:
    """A way in which the link breaks although the phone stays."""

    event: str
    happen: Callable[[Phone], None]


OUT_OF_RANGE = Loss(
    "the phone walks out of range", lambda phone, _: phone.walk_away(), lambda phone, _: phone.come_back()
)
LOSSES = (
    OUT_OF_RANGE,
    Loss(
        "Bluetooth is switched off at the phone",
        lambda phone, _: phone.switch_bluetooth_off(),
        lambda phone, _: phone.come_back(),
    ),
    Loss("the phone's program is ended", lambda phone, _: phone.stop(), lambda phone, _: phone.start()),
    Loss("the phone's program is killed", lambda phone, _: phone.kill(), lambda phone, _: phone.start()),
    Loss("the phone's program hangs", lambda phone, _: phone.hang(), lambda phone, _: phone.wake()),
    Loss(
        "Bluetooth is switched off at the computer",
        lambda _, computer: computer.shell("bluetoothctl power off"),
        lambda _, computer: computer.shell("bluetoothctl power on"),
    ),
)
BLIPS = (
    Blip("the phone closes the RFCOMM channel", Phone.close_channel),
    Blip("the phone drops the ACL link", Phone.drop_link),
)


class Measuring:
    """Lets things happen to a mounted vault and takes the times."""

    def __init__(self, computer: Computer, phone: Phone, watch: Watch, report: Report) -> None:
        self._computer = computer
        self._phone = phone
        self._watch = watch
        self._report = report
        self.times: list[Times] = []

    def lose(self, loss: Loss) -> None:
        """The phone goes, stays away until the folder is locked, and comes back."""
        gone_s = self._open_now()
        loss.go(self._phone, self._computer)
        frozen_s = self._watch.wait_for("frozen", gone_s)
        locked_s = self._watch.wait_for("locked", gone_s)
        self._computer.check_refused()
        back_s = self._computer.machine.control.clock()
        loss.come(self._phone, self._computer)
        unlocked_s = self._watch.wait_for("unlocked", back_s)
        self._keep(Times(loss.event, frozen_s, locked_s, unlocked_s))

    def blip(self, blip: Blip) -> None:
        """The link breaks; the folder freezes and is open again before the grace is over."""
        broken_s = self._open_now()
        blip.happen(self._phone)
        frozen_s = self._watch.wait_for("frozen", broken_s)
        unlocked_s = self._watch.wait_for("unlocked", broken_s + frozen_s) + frozen_s
        states = [state for at_s, state in self._watch.seen() if broken_s < at_s <= broken_s + unlocked_s]
        locked = "locked" in states
        locked_s = self._watch.wait_for("locked", broken_s) if locked else None
        self._keep(Times(blip.event, frozen_s, locked_s, unlocked_s))

    def _open_now(self) -> float:
        now_s = self._computer.machine.control.clock()
        wait_s = self._watch.wait_for("unlocked", now_s)
        return now_s if wait_s == 0 else self._computer.machine.control.clock()

    def _keep(self, times: Times) -> None:
        self._computer.check_intact()
        self._computer.machine.check_alive()
        self.times.append(times)
        locked = "not locked" if times.locked_s is None else f"locked after {times.locked_s:.1f} s"
        self._report.check(
            True,
            f"{times.event}: frozen after {times.frozen_s:.2f} s, {locked}, open {times.unlocked_s:.1f} s later",
        )
