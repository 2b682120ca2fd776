"""Hints name only commands and options that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

import keyslots.errors
import phone_link.errors
import phone_link.phone.errors
import phonevault.errors
import phonevault.fuse.errors
import phonevault.vault
from phone_link.phone.cli import phone as phone_program
from phonevault.cli.main import cli as computer_program

MODULES = (
    keyslots.errors,
    phone_link.errors,
    phone_link.phone.errors,
    phonevault.errors,
    phonevault.fuse.errors,
    phonevault.vault,
)
PROGRAMS = {"phonevault": computer_program, "phonevault-phone": phone_program}


def _hints() -> Iterator[tuple[str, str]]:
    for module in MODULES:
        for name, value in vars(module).items():
            hint = getattr(value, "hint", "") if isinstance(value, type) else ""
            if isinstance(hint, str) and hint:
                yield f"{module.__name__}.{name}", hint


def _children(command: click.Command) -> dict[str, click.Command]:
    if not isinstance(command, click.Group):
        return {}
    context = click.Context(command)
    found = {name: command.get_command(context, name) for name in command.list_commands(context)}
    return {name: child for name, child in found.items() if child is not None}


def _every_option(command: click.Command) -> set[str]:
    found = {option for parameter in command.params for option in parameter.opts}
    return found.union(*(_every_option(child) for child in _children(command).values()))


HINTS = dict(_hints())


@pytest.mark.parametrize("name", HINTS)
def test_a_hint_names_commands_that_exist(name: str) -> None:
    for program, words in re.findall(
        r"(?:`|: |^|--)(phonevault(?:-phone)?) ([a-z][a-z-]*(?: [a-z]+)?)", HINTS[name]
    ):
        command: click.Command = PROGRAMS[program]
        for word in words.split():
            children = _children(command)
            if not children:
                break  # the command is complete; a word of the sentence follows
            assert word in children, f"{program} {words}"
            command = children[word]


@pytest.mark.parametrize("name", HINTS)
def test_a_hint_names_options_that_exist(name: str) -> None:
    known = _every_option(computer_program) | _every_option(phone_program)
    assert set(re.findall(r"--[a-z-]+", HINTS[name])) <= known


@pytest.mark.parametrize(
    "name",
    [
        "LinkTimeout",
        "LinkClosed",
        "PhoneAbsent",
        "PinIncorrect",
        "PinLocked",
        "PinRequired",
        "UserRefused",
        "KeyNotFound",
    ],
)
def test_what_a_phone_can_answer_has_a_hint(name: str) -> None:
    assert getattr(phone_link.errors, name).hint
