"""The manual pages, made from the click commands: what `--help` says, in one page a program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from phone_link.phone.cli import phone
from phonevault.cli.main import cli

PAGES = Path(__file__).resolve().parents[1] / "man"
PROGRAMS: dict[str, tuple[click.Group, str]] = {
    "phonevault": (cli, "encrypted folders that only your phone opens"),
    "phonevault-phone": (phone, "the phone of a phonevault"),
}
SEE_ALSO = {"phonevault": "phonevault-phone", "phonevault-phone": "phonevault"}


def page(name: str) -> str:
    """Return a program's manual page in man(7)."""
    group, purpose = PROGRAMS[name]
    context = click.Context(group, info_name=name)
    lines = [
        '.\\" Made by scripts/man. Do not edit.',
        f".TH {name.upper()} 1",
        ".SH NAME",
        f"{text(name)} \\- {text(purpose)}",
        ".SH SYNOPSIS",
        f".B {text(name)}",
        text(" ".join(group.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        *paragraphs(group.help or ""),
        ".SH OPTIONS",
        *options(group, context),
        ".SH COMMANDS",
    ]
    for command, inner in commands(group, context):
        lines += [f".SS {text(usage(command, inner))}", *paragraphs(command.help or "")]
        lines += options(command, inner)
    lines += [*exit_status(group), ".SH SEE ALSO", f".BR {text(SEE_ALSO[name])} (1)"]
    return "\n".join(lines) + "\n"


def commands(group: click.Group, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """Every command that does something, those of groups in groups included."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from commands(command, inner)
        else:
            yield command, inner


def usage(command: click.Command, context: click.Context) -> str:
    """The command with its arguments, as the help's first line has it."""
    return " ".join([context.command_path, *command.collect_usage_pieces(context)])


def options(command: click.Command, context: click.Context) -> list[str]:
    """The options, without `--help`, which every command has."""
    lines = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None and "--help" not in parameter.opts:
            lines += [".TP", f".B {text(record[0])}", *([text(record[1])] if record[1] else [])]
    return lines


def exit_status(group: click.Group) -> list[str]:
    """The table of the epilog, if there is one."""
    if not group.epilog:
        return []
    rows = re.findall(r"^ *(\d+)  (.+)$", group.epilog, re.MULTILINE)
    return [".SH EXIT STATUS", *(line for code, what in rows for line in (".TP", f".B {code}", text(what)))]


def paragraphs(prose: str) -> list[str]:
    """Prose, an empty line between two paragraphs."""
    blocks = [" ".join(block.split()) for block in prose.split("\n\n")]
    return [line for block in blocks for line in (".PP", text(block))]


def text(plain: str) -> str:
    """Plain text as roff: nothing of it is a request or an escape."""
    escaped = plain.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped


def main() -> None:
    """Write the pages."""
    PAGES.mkdir(exist_ok=True)
    for name in PROGRAMS:
        (PAGES / f"{name}.1").write_text(page(name), "utf-8")


if __name__ == "__main__":
    main()
