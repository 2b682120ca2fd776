"""Unmounting: what is in use for a moment only is no error; who holds it longer is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from phonevault.daemon import volume
from phonevault.daemon.volume import Volume
from phonevault.errors import MountBusy
from phonevault.fuse import errors, mount


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The mount of a fake `fusermount3`: in use at the first two calls."""
    made: list[Path] = []

    def unmount(mountpoint: Path, *, lazy: bool = False) -> None:
        made.append(mountpoint)
        if len(made) <= 2:
            raise errors.MountBusy("in use")

    monkeypatch.setattr(mount, "unmount", unmount)
    return made


def volume_at(path: Path) -> Volume:
    nothing: object = None
    return Volume(str(path), nothing, nothing, lambda _keys: None)  # type: ignore[arg-type]


def test_in_use_for_a_moment(calls: list[Path], tmp_path: Path) -> None:
    volume_at(tmp_path).unmount()
    assert calls == [tmp_path] * 3


def test_in_use_by_nobody_known_for_long(
    calls: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volume, "PASSING_S", 0.0)
    with pytest.raises(MountBusy) as caught:
        volume_at(tmp_path).unmount()
    assert len(calls) == 1
    assert caught.value.hint == "close what is open in it, then try again"


def test_who_holds_it_is_named_at_once(calls: list[Path], tmp_path: Path) -> None:
    with (tmp_path / "file").open("w"):
        child = os.fork()
        if child == 0:
            os.read(os.pipe()[0], 1)
        try:
            with pytest.raises(MountBusy) as caught:
                volume_at(tmp_path).unmount()
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
    assert len(calls) == 1
    assert f"({child})" in caught.value.hint
