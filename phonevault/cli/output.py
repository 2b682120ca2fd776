"""What is printed: errors, notes, tables, JSON."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any, TextIO

_NO_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Surrogates that stand for no byte of a file name (PEP 383)."""


_ANY_WIDTH = 1 << 16
_PROSE_WIDTH = 30
"""The least room for a column of prose, in characters."""


def say(text: str) -> None:
    """A result, on standard output."""
    _write(sys.stdout, text + "\n")


def note(text: str) -> None:
    """Something the user should know that is no error, on standard error."""
    _write(sys.stderr, f"note: {text}\n")


def warn(text: str) -> None:
    """Something that is not as it should be, on standard error."""
    _write(sys.stderr, f"warning: {text}\n")


def show_error(message: str, hint: str = "") -> None:
    """An error, on standard error: `error:` and, if there is something to be done, `hint:`."""
    _write(sys.stderr, f"error: {message}\n" + (f"hint: {hint}\n" if hint else ""))


def show_json(value: Any) -> None:
    """A value as JSON, on standard output. What is not printable is escaped: the value stays, a terminal is not steered."""
    import json

    say("".join(_escaped(char) for char in json.dumps(value, indent=2, ensure_ascii=False)))


def _escaped(char: str) -> str:
    if char.isprintable() or char == "\n":
        return char
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _write(stream: TextIO, text: str) -> None:
    """Write lines whose parts may come from outside (paths, labels): whatever they are, they neither steer a terminal nor fail."""
    shown = "".join(part if part in "\n\t" else printable(part) for part in re.split(r"([\n\t])", text))
    encoding = stream.encoding or "utf-8"
    stream.write(shown.encode(encoding, "replace").decode(encoding))
    stream.flush()


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, prose: bool = False) -> None:
    """A table: drawn on a terminal that is wide enough, as a list on another, else one line a row with tabs between the cells.

    Args:
        columns: their heads.
        rows: their cells.
        prose: the last column is text that may be wrapped between words; no other cell ever is, so that it can be copied.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in cells:
            say("\t".join(row))
        return
    from rich.box import SIMPLE_HEAD
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns, 1):
        table.add_column(column, no_wrap=not prose or number < len(columns))
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    width = table.__rich_measure__(console, console.options.update(max_width=_ANY_WIDTH)).maximum
    if prose:
        longest = max((cell_len(row[-1]) for row in cells), default=0)
        width -= max(0, longest - _PROSE_WIDTH)
    if width > console.width:
        _show_list(columns, cells)
    else:
        console.print(table)


def _show_list(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Each cell on a line of its own."""
    width = max(map(len, columns))
    for number, row in enumerate(rows):
        if number:
            say("")
        for column, cell in zip(columns, row, strict=True):
            if cell:
                say(f"{column:{width}}  {cell}")


def counted(count: int, one: str, many: str = "") -> str:
    """A number and what it counts; `many` is `one` and an s if it is left out."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def printable(text: str) -> str:
    """Text from outside without what would move a terminal's cursor or colour it."""
    text = _NO_BYTES.sub("\N{REPLACEMENT CHARACTER}", text)
    decoded = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in decoded)
