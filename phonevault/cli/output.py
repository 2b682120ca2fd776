"""What is printed: errors, notes, tables, JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any


def say(text: str) -> None:
    """A result, on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Something the user should know that is no error, on standard error."""
    sys.stderr.write(f"note: {text}\n")
    sys.stderr.flush()


def warn(text: str) -> None:
    """Something that is not as it should be, on standard error."""
    sys.stderr.write(f"warning: {text}\n")
    sys.stderr.flush()


def show_error(message: str, hint: str = "") -> None:
    """An error, on standard error: `error:` and, if there is something to be done, `hint:`."""
    sys.stderr.write(f"error: {message}\n" + (f"hint: {hint}\n" if hint else ""))
    sys.stderr.flush()


def show_json(value: Any) -> None:
    """A value as JSON, on standard output."""
    import json

    say(json.dumps(value, indent=2, ensure_ascii=False))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table: drawn on a terminal, else one line a row with tabs between the cells."""
    cells = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in cells:
            say("\t".join(row))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def printable(text: str) -> str:
    """Text from outside without what would move a terminal's cursor or colour it."""
    decoded = os.fsencode(text).decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in decoded)
