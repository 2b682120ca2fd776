"""How far a rotation is: a bar on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from phonevault.cli.output import note

REDRAW_S = 0.5
_PLAIN_S = 5.0
_MEGA = 1_000_000


class RotationDisplay:
    """Shows progress on standard error while its `with` block lasts.

    Args:
        unit: what is counted, in the plural.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._stack = ExitStack()
        self._bar: Any = None
        self._task: Any = None
        self._pace = Pace()
        self._next_s = time.monotonic() + _PLAIN_S

    def __enter__(self) -> RotationDisplay:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
            bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar = self._stack.enter_context(bar)
            self._task = bar.add_task(self._unit, total=None, text="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def update(self, now: Mapping[str, Any], state: str = "running") -> None:
        """Take the numbers of now.

        Args:
            now: `total`, `seen` and `damaged`; `total_bytes`, `seen_bytes`, `folders` and `named` of what counts those.
            state: as in `status --json`.
        """
        seen, total = _counted(now)
        text = self._text(now, seen, total)
        text += f", {now['damaged']:,} damaged" if now["damaged"] else ""
        text += "" if state == "running" else f", {state}"
        if self._bar is not None:
            self._bar.update(self._task, total=total or None, completed=seen, text=text)
        elif time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _PLAIN_S
            note(f"{self._unit}: {text}")

    def _text(self, now: Mapping[str, Any], seen: int, total: int) -> str:
        if now.get("folders") and not now["seen"]:
            return f"{now['named']:,} names, links and attributes in {now['folders']:,} folders"
        pace = self._pace.text(seen, total, time.monotonic())
        if "seen_bytes" in now and now["total"]:
            return f"{now['seen']:,} of {now['total']:,} files; MB: {pace}"
        return pace


def _counted(now: Mapping[str, Any]) -> tuple[int, int]:
    """What tells the time that is left: megabytes where they are counted, else files."""
    if "seen_bytes" in now:
        return now["seen_bytes"] // _MEGA, now["total_bytes"] // _MEGA
    return now["seen"], now["total"]


class Pace:
    """What has been counted, how fast, and how long the rest will take. No clock."""

    def __init__(self) -> None:
        self._from: tuple[int, float] | None = None

    def text(self, seen: int, total: int, now_s: float) -> str:
        """One line.

        Args:
            seen: counted so far; fewer than before means that counting began anew.
            total: there are; 0 if that is not known.
            now_s: monotonic clock, seconds.
        """
        if self._from is None or seen < self._from[0]:
            self._from = seen, now_s
        since, since_s = self._from
        rate = (seen - since) / (now_s - since_s) if now_s > since_s else 0.0
        if not total:
            return f"counting, {seen:,} so far" if seen else "counting"
        left = f", {_duration(max(0, total - seen) / rate)} left" if rate else ""
        return f"{seen:,} of {total:,} ({rate:,.0f}/s{left})"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
