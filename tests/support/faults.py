"""Fault injection for a serving process: its system calls on files are refused or cut short while a test says so.

A test says so by a file in the folder of faults, named as the call: it holds the number of the error, or "short".
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CALLS = ("pwrite", "ftruncate", "fsync", "fdatasync")
SHORT = "short"
SHORT_BYTES = 1000


class Faults:
    """The test's side.

    Args:
        folder: of the faults.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    @contextlib.contextmanager
    def on(self, fault: int | str, *calls: str) -> Iterator[None]:
        for call in calls:
            (self.folder / call).write_text(str(fault))
        try:
            yield
        finally:
            for call in calls:
                (self.folder / call).unlink()


def install(folder: Path) -> None:
    """The serving process's side: wrap the calls of ``os``."""
    for call in CALLS:
        setattr(os, call, _faulty(getattr(os, call), folder / call))


def _faulty(real: Callable[..., Any], switch: Path) -> Callable[..., Any]:
    def call(fd: int, *arguments: Any) -> Any:
        if not switch.exists():
            return real(fd, *arguments)
        fault = switch.read_text()
        if fault != SHORT:
            raise OSError(int(fault), "says the fault injector")
        data, *rest = arguments
        return real(fd, data[:SHORT_BYTES], *rest)

    return call
