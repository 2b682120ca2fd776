"""docs/phones.md: its commands exist, and those that need no hardware do what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from support.computer import Computer

from phone_link.phone.cli import phone as phone_program
from phonevault.cli.main import cli as computer_program

PAGE = (Path(__file__).parents[1] / "docs" / "phones.md").read_text()
PROGRAMS = {"phonevault": computer_program, "phonevault-phone": phone_program}
LINES = re.findall(r"^ {4,}(phonevault\S* .*)$", PAGE, re.MULTILINE) + re.findall(
    r"`(phonevault(?:-phone)? [a-z][^`]*)`", PAGE
)


@pytest.mark.parametrize("line", LINES)
def test_commands_and_options_exist(line: str) -> None:
    name, *words = shlex.split(line)
    command: click.Command = PROGRAMS[name]
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None, line
        command = found
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_the_page_has_commands() -> None:
    assert len(LINES) > 12


def test_a_pseudo_terminal_is_used_as_a_serial_line(fresh_computer: Computer) -> None:
    tty = fresh_computer.short / "tty"
    fresh_computer.spec = f"pty:{tty}"
    fresh_computer.make_phone()
    fresh_computer.start_phone("--approve", "auto", "--accept-pairing")
    fresh_computer.run("phone", "pair", f"serial:{tty}?baud=115200", "--name", "board", "--yes")
    assert "answered in" in fresh_computer.run("phone", "ping", "board").stdout
    assert "reached over serial" in fresh_computer.run("doctor", "--phone", "board").stdout


@pytest.fixture
def fresh_computer(tmp_path: Path):  # type: ignore[no-untyped-def]
    (tmp_path / "c").mkdir()
    computer = Computer(tmp_path / "c")
    yield computer
    computer.close()
