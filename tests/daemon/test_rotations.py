"""The rotation of a mount, with stand-ins for file system and run: who may begin it, what a lock does to it, whose keys are wiped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from support.computer import wait_until

from keyslots.errors import HeaderBusy
from keyslots.header import Header
from keyslots.place import Place
from keyslots.secret import Secret
from phonevault.daemon import rotations as module
from phonevault.daemon.rotations import Rotations
from phonevault.errors import ReportedError, RotationRefused, UnlockImpossible
from phonevault.rotation_kinds import Kind
from phonevault.vault import CreatedVault, OpenedVault, RecoverySlotRequest, create


@dataclass
class Progress:
    total: int = 10
    seen: int = 3
    damaged: int = 0
    seconds: float = 0.25
    wrapped: int = 2


class FakeRun:
    """A run that lasts until it is stopped or told to end."""

    def __init__(self) -> None:
        self.progress = Progress()
        self.duty = 1.0
        self.paused = False
        self.stopped = threading.Event()
        self.may_end = threading.Event()
        self.result = True

    def stop(self) -> None:
        self.stopped.set()
        self.may_end.set()

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def run(self, finish: Callable[[], None]) -> bool:
        assert self.may_end.wait(10)
        if self.stopped.is_set():
            return False
        if self.result:
            finish()
        return self.result


class FakeFileSystem:
    epoch = 1


class World:
    """A vault, its rotations, and what was asked of the kind."""

    def __init__(self, vault: CreatedVault, monkeypatch: pytest.MonkeyPatch) -> None:
        self.vault = vault
        self.run = FakeRun()
        self.under_way = False
        self.done: list[str] = []
        self.finish_errors: list[Exception] = []
        self.made = Secret.random(32)
        kind = Kind(
            "master", "files", self._is_under_way, self._begin, self._adopt, self._new_run, self._finish
        )
        monkeypatch.setattr(module, "kind_named", lambda name: kind)
        monkeypatch.setattr(module, "kind_under_way", lambda header: kind if self.under_way else None)
        monkeypatch.setattr(module, "BUSY_PAUSE_S", 0.0)

    def rotations(self, refused: str = "") -> Rotations:
        filesystem: Any = FakeFileSystem()
        return Rotations(lambda: Place(self.vault.path), filesystem, refused)

    def opened(self) -> OpenedVault:
        header = self.vault.header
        return OpenedVault(Place(self.vault.path), header, header.slots[0], {1: self.vault.vmk.copy()})

    def _is_under_way(self, _: Header) -> bool:
        return self.under_way

    def _begin(self, opened: OpenedVault) -> tuple[Header, dict[int, Secret]]:
        self.done.append("begin")
        self.under_way = True
        return opened.header, {**opened.vmks, 2: self.made}

    def _adopt(self, *_: Any) -> None:
        self.done.append("adopt")

    def _new_run(self, _filesystem: Any, _header: Header, _duty: float) -> Any:
        return self.run

    def _finish(self, _place: Place, header: Header, vmks: Any) -> Header:
        assert not any(vmk.wiped for vmk in vmks.values())
        self.done.append("finish")
        if self.finish_errors:
            raise self.finish_errors.pop()
        self.under_way = False
        return header


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    vault = create(tmp_path / "vault", cipher="aes-256-gcm", slots=[RecoverySlotRequest()])
    made = World(vault, monkeypatch)
    yield made
    made.run.stop()
    vault.wipe()


def state(rotations: Rotations) -> str:
    status = rotations.status()
    assert status is not None
    return str(status["state"])


def begun(world: World, rotations: Rotations, duty: float | None = None) -> OpenedVault:
    rotations.opened(world.opened())
    opened = world.opened()
    rotations.begin("master", opened, duty).wait(10)
    return opened


def test_from_the_beginning_to_the_end(world: World) -> None:
    rotations = world.rotations()
    assert rotations.status() is None
    opened = begun(world, rotations, 0.25)
    assert rotations.status() == {
        "kind": "master", "state": "running", "message": "", "unit": "files", "duty": 0.25,
        "total": 10, "seen": 3, "damaged": 0, "seconds": 0.25, "wrapped": 2,
    }  # fmt: skip
    assert world.run.duty == 0.25 and not opened.vmks[1].wiped
    world.run.may_end.set()
    wait_until(lambda: state(rotations) == "done")
    assert rotations.wait(10)
    assert world.done == ["begin", "adopt", "finish"]
    assert opened.vmks[1].wiped and world.made.wiped


def test_a_lock_ends_it_and_the_next_unlock_goes_on(world: World) -> None:
    rotations = world.rotations()
    opened = begun(world, rotations)
    rotations.pause()
    rotations.throttle(0.125)
    rotations.stop()
    assert rotations.wait(10)
    assert opened.vmks[1].wiped and world.made.wiped
    assert state(rotations) == "waiting"
    refused = world.opened()
    with pytest.raises(UnlockImpossible):
        rotations.begin("master", refused, None)
    assert refused.vmks[1].wiped
    world.run, world.made = FakeRun(), Secret.random(32)
    given = world.opened()
    rotations.opened(given)
    wait_until(lambda: world.run.paused)
    assert state(rotations) == "paused" and world.run.duty == 0.125
    assert not given.vmks[1].wiped, "its caller wipes it"
    rotations.resume()
    world.run.may_end.set()
    wait_until(lambda: state(rotations) == "done")


def test_only_one_at_a_time(world: World) -> None:
    rotations = world.rotations()
    begun(world, rotations)
    second = world.opened()
    with pytest.raises(RotationRefused):
        rotations.begin("master", second, None)
    assert second.vmks[1].wiped


def test_a_mount_that_can_have_none_says_why(world: World) -> None:
    rotations = world.rotations("mounted so that it cannot")
    world.under_way = True
    rotations.opened(world.opened())
    status = rotations.status()
    assert status is not None and (status["state"], status["message"]) == (
        "waiting",
        "mounted so that it cannot",
    )
    with pytest.raises(RotationRefused):
        rotations.begin("master", world.opened(), None)
    with pytest.raises(RotationRefused):
        rotations.pause()
    assert world.done == []


def test_damage_is_told_and_not_tried_again_at_every_unlock(world: World) -> None:
    rotations = world.rotations()
    world.run.result, world.run.progress.damaged = False, 2
    begun(world, rotations)
    world.run.may_end.set()
    wait_until(lambda: state(rotations) == "incomplete")
    rotations.stop()
    assert rotations.wait(10)
    rotations.opened(world.opened())
    assert state(rotations) == "incomplete"


def test_a_header_that_others_hold_is_tried_again(world: World) -> None:
    rotations = world.rotations()
    world.finish_errors = [HeaderBusy("held"), HeaderBusy("held")]
    begun(world, rotations)
    world.run.may_end.set()
    wait_until(lambda: state(rotations) == "done")
    assert world.done.count("finish") == 3


def test_an_error_is_told_to_who_asked_and_wipes_the_keys(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotations = world.rotations()
    rotations.opened(world.opened())

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr(world, "_adopt", full)
    kind = module.kind_named("master")
    monkeypatch.setattr(module, "kind_named", lambda name: replace(kind, adopt=full))
    opened = world.opened()
    with pytest.raises(ReportedError, match="No space left"):
        rotations.begin("master", opened, None).wait(10)
    assert rotations.wait(10)
    assert state(rotations) == "failed" and opened.vmks[1].wiped and world.made.wiped


def test_a_header_with_other_keys_is_not_taken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeFileSystem, "epoch", 5)
    rotations = world.rotations()
    rotations.opened(world.opened())
    with pytest.raises(ReportedError, match="not the one that was mounted"):
        rotations.begin("master", world.opened(), None).wait(10)
    assert world.done == []
