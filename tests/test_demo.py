"""scripts/demo, the main job from beginning to end, and that it leaves nothing behind when it is interrupted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_steps.programs import Program
from demo_steps.report import BrokenPromise, Report
from demo_steps.world import World
from rich.console import Console
from support.leftovers import mounts_below
from support.needs import need_fuse

ROOT = Path(__file__).resolve().parent.parent
DEMO = [sys.executable, str(ROOT / "scripts" / "demo_main.py")]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a name short enough for the sockets in it."""
    with tempfile.TemporaryDirectory(prefix="pv-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def environment(place: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The demo works below TMPDIR, so that what it leaves can be seen."""
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    return dict(os.environ)


@pytest.mark.mount
@pytest.mark.anyone
@pytest.mark.radio
def test_everything_is_as_promised(place: Path, environment: dict[str, str]) -> None:
    need_fuse()
    done = subprocess.run(DEMO, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^ 1  .*", done.stdout, re.MULTILINE)
    assert "Everything as promised" in done.stdout.splitlines()[-1]
    assert not list(place.iterdir())


@pytest.mark.mount
@pytest.mark.anyone
@pytest.mark.radio
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_in_the_middle_it_leaves_nothing(
    number: signal.Signals, place: Path, environment: dict[str, str]
) -> None:
    need_fuse()
    demo = Program("the demo", DEMO, environment)
    try:
        demo.wait_for("mounted and usable", 60)
        assert mounts_below(place)
        demo.signal(number)
        assert demo.wait(30) == 128 + number
    finally:
        demo.stop()
    assert not mounts_below(place)
    assert not list(place.iterdir())


def test_a_broken_promise_is_told_and_cleaned_up() -> None:
    with World(Report(Console(quiet=True))) as world:
        world.start("a sleeper", "sleep", "1000")
        failing = world.run("sh", "-c", "echo no such thing >&2; exit 7")
        with pytest.raises(BrokenPromise, match="exit code 7, no such thing"):
            failing.must_succeed()
        with pytest.raises(BrokenPromise, match="the moon is round – but: flat"):
            world.report.check(False, "the moon is round", "flat")
        assert len(world.processes()) == 1
    assert not world.processes()
    assert not world.root.exists()
