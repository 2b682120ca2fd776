"""How far long work has come: a line that renews itself on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from phonevault.cli.output import counted

_PLAIN_INTERVAL_S = 10.0
_LOOK_INTERVAL_S = 0.2
_MEGA = 1_000_000


class Rate:
    """Files and bytes done, with their rates. Call it as the work goes on; it shows something only when it is time.

    Args:
        done: returns files and bytes so far.
        show: shows a line.
        interval_s: between two lines.
    """

    def __init__(
        self, done: Callable[[], tuple[int, int]], show: Callable[[str], None], interval_s: float
    ) -> None:
        self._done, self._show, self._interval_s = done, show, interval_s
        self._began_s = time.monotonic()
        self._next_s = self._began_s + interval_s

    def __call__(self) -> None:
        """Show a line if it is time."""
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + self._interval_s
            self._show(self.text())

    @property
    def seconds(self) -> float:
        """Since the work began."""
        return time.monotonic() - self._began_s

    def text(self) -> str:
        """Files, bytes and rates."""
        files, count = self._done()
        elapsed_s = max(self.seconds, 0.001)
        return (
            f"{counted(files, 'file')}, {count / _MEGA:,.1f} MB in {elapsed_s:,.1f} s "
            f"({files / elapsed_s:,.0f} files/s, {count / _MEGA / elapsed_s:,.0f} MB/s)"
        )


@contextlib.contextmanager
def rate_shown(what: str, done: Callable[[], tuple[int, int]]) -> Iterator[Rate]:
    """Show the rate of work on standard error while it goes on.

    Args:
        what: the work, as "checking".
        done: returns files and bytes so far.
    """
    if not sys.stderr.isatty():

        def line(text: str) -> None:
            sys.stderr.write(f"{what}: {text}\n")
            sys.stderr.flush()

        yield Rate(done, line, _PLAIN_INTERVAL_S)
        return
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner

    spinner = Spinner("dots", text=f"{what} ...")
    # What is printed on the same terminal goes above the line; a file or pipe is left alone.
    with Live(spinner, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()):
        yield Rate(done, lambda text: spinner.update(text=f"{what}: {text}"), _LOOK_INTERVAL_S)
