"""A table of text cells: boxes on a terminal, Markdown elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table


@dataclass
class Grid:
    """Columns are right-aligned but for the first ones.

    Attributes:
        left: how many are left-aligned.
    """

    header: Sequence[str]
    left: int = 1
    rows: list[Sequence[str]] = field(default_factory=list)

    def markdown(self) -> str:
        """Lines of a Markdown table."""
        marks = ["---" if number < self.left else "---:" for number in range(len(self.header))]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (self.header, marks, *self.rows))

    def show(self, console: Console) -> None:
        """Print it."""
        if not console.is_terminal:
            console.print(self.markdown(), end="\n\n", soft_wrap=True)
            return
        table = Table(box=box.ROUNDED)
        for number, column in enumerate(self.header):
            table.add_column(column, justify="left" if number < self.left else "right")
        for cells in self.rows:
            table.add_row(*cells)
        console.print(table)


def number(value: float | None) -> str:
    """With three digits at least; "–" for what was not measured."""
    if value is None or value != value:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:.3g}"
