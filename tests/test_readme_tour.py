"""The README's five-minute tour, its commands copied literally, with two terminals."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from demo_steps.programs import Program
from support.needs import need_fuse

ROOT = Path(__file__).resolve().parent.parent
PIN = "271828"
BLOCK = re.compile(r"<!-- tour: ([a-z ]+) -->\n```sh\n(.*?)```", re.DOTALL)
COMMANDS = {"phonevault": "phonevault.cli.main", "phonevault-phone": "phone_link.phone.cli"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with both commands in its bin, whichever way the project is installed."""
    (tmp_path / "bin").mkdir()
    for name, module in COMMANDS.items():
        path = tmp_path / "bin" / name
        path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {module} "$@"\n')
        path.chmod(0o755)
    return tmp_path


@pytest.fixture
def environment(home: Path) -> Mapping[str, str]:
    """That of a user who has set nothing up."""
    run = home / "run"
    run.mkdir(mode=0o700)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    path = f"{home}/bin:{os.environ['PATH']}"
    python_path = f"{ROOT}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")
    return {**kept, "HOME": str(home), "XDG_RUNTIME_DIR": str(run), "PATH": path, "PYTHONPATH": python_path}


@contextmanager
def terminal(name: str, script: str, environment: Mapping[str, str]) -> Iterator[Program]:
    """A shell on a terminal of its own that runs one block."""
    program = Program(name, ["bash", "-ec", script], environment)
    try:
        yield program
    finally:
        program.stop()


@contextmanager
def served_phone(script: str, environment: Mapping[str, str]) -> Iterator[Program]:
    """The phone, its PIN typed in."""
    with terminal("the phone", script, environment) as phone:
        phone.wait_for("PIN")
        phone.answer(PIN)
        phone.wait_for("ready: ")
        yield phone
        phone.answer("\x03")
        phone.wait(10)


def shell(script: str, environment: Mapping[str, str]) -> str:
    """A block that must succeed; what it printed."""
    done = subprocess.run(
        ["bash", "-exc", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def make_phone(script: str, environment: Mapping[str, str]) -> None:
    with terminal("the new phone", script, environment) as phone:
        phone.wait_for("PIN")
        phone.answer(PIN)
        phone.wait_for("(?s)PIN.*(again|repeat|same|once more)")
        phone.answer(PIN)
        assert phone.wait(30) == 0, phone.screen


def pair(script: str, phone: Program, environment: Mapping[str, str]) -> None:
    with terminal("the computer", script, environment) as computer:
        here = computer.wait_for(r"(\d{3}) (\d{3})").groups()
        phone.wait_for(rf"{here[0]} ?{here[1]}\D*\[y/N\]")  # what is typed before the question does not count
        phone.answer("y")
        computer.answer("y")
        assert computer.wait(30) == 0, computer.screen


def wait_until_status_says(word: str, environment: Mapping[str, str], patience_s: float = 30) -> None:
    deadline = time.monotonic() + patience_s
    while word not in (status := shell("phonevault status", environment)):
        assert time.monotonic() < deadline, status
        time.sleep(0.1)


@pytest.mark.mount
def test_the_tour_works_as_written(home: Path, environment: Mapping[str, str]) -> None:
    need_fuse()
    found = BLOCK.findall((ROOT / "README.md").read_text())
    assert len(found) == 10
    block = {kind: script for kind, script in found if kind != "computer"}
    first_use, by_hand, recovery, slots, check = (script for kind, script in found if kind == "computer")
    make_phone(block["phone"], environment)
    with served_phone(block["phone serves"], environment) as phone:
        pair(block["pair"], phone, environment)
        assert "nobody's business" in shell(first_use, environment)
    wait_until_status_says("locked", environment)
    locked = subprocess.run(
        ["bash", "-c", block["locked"]], env=environment, capture_output=True, text=True, check=False
    )
    assert "Required key not available" in locked.stderr
    with served_phone(block["phone serves"], environment):
        wait_until_status_says("unlocked", environment)
        shell(by_hand, environment)
        assert "nobody's business" in shell(recovery, environment)
        listed = shell(slots, environment)
    assert "0 problems, 0 notes" in shell(check, environment)
    assert "opens" in listed
    assert "removed slot 0" in listed
    shell(block["clean up"], environment)
    assert not [path.name for path in home.iterdir() if path.name.startswith("tour")]
