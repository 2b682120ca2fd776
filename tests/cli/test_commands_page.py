"""docs/commands.md names every command and option there is, and none that is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from phonevault.cli.main import cli

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()


def commands(group: click.Group, name: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def test_every_command_and_option_is_on_the_page() -> None:
    options = {"--help"}
    for name, command in commands(cli, "phonevault"):
        assert f"`{name} " in PAGE, name
        options |= {option for param in command.params for option in param.opts if option.startswith("--")}
    assert set(re.findall(r"--[a-z][a-z-]*", PAGE)) == options
