"""What the demo shows: numbered steps with times, each promise with a tick, or the one broken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape


class BrokenPromise(Exception):
    """Something is not as the project promises; ends the demo with exit code 1."""


class Report:
    """Prints steps; `check` raises BrokenPromise."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._number = 0
        self._started = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A numbered step: its title at once, the seconds it took at its end."""
        self._number += 1
        started = time.monotonic()
        self._console.print(f"\n[bold]{self._number:2}  {escape(title)}[/]")
        yield
        took_s, total_s = time.monotonic() - started, time.monotonic() - self._started
        self._console.print(f"    [dim]{took_s:.1f} s, {total_s:.1f} s in all[/]")

    def command(self, line: str) -> None:
        """A command as the user would type it."""
        self._console.print(f"    [cyan]$ {escape(line)}[/]", soft_wrap=True)

    def show(self, text: str) -> None:
        """Something to look at: output of a program, a number measured."""
        for line in text.rstrip().splitlines():
            self._console.print(f"      {escape(line)}", soft_wrap=True)

    def check(self, kept: bool, promise: str, found: str = "") -> None:
        """States a promise; raises BrokenPromise with what was found instead unless it was kept."""
        if not kept:
            raise BrokenPromise(f"{promise}" + (f" – but: {found}" if found else ""))
        self._console.print(f"    [green]✓[/] {escape(promise)}", soft_wrap=True)
