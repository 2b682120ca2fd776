"""The program ``phonevault`` with a counter around every handler: requests and processor time by opcode, in a file that is mapped.

Run as ``counted_mount.py COUNTS ARGUMENT…`` by ``scripts/bench requests``; the product itself counts nothing.
"""

from __future__ import annotations

import dataclasses
import mmap
import sys
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phonevault.cli.main import main
from phonevault.fs.filesystem import EncryptedFileSystem

OPCODES = 64
COUNTS_BYTES = OPCODES * 16
"""For each opcode how often, then nanoseconds of the worker in its handler; 64 bits each."""


def install(path: Path) -> None:
    """Count in that file, from the next mount on."""
    plain = EncryptedFileSystem.operations

    def operations(self: EncryptedFileSystem) -> Any:
        with path.open("r+b") as file:
            cells = memoryview(mmap.mmap(file.fileno(), COUNTS_BYTES)).cast("Q")
        lock, found = threading.Lock(), plain(self)
        return dataclasses.replace(
            found,
            handlers={number: _counted(number, each, cells, lock) for number, each in found.handlers.items()},
        )

    EncryptedFileSystem.operations = operations  # type: ignore[method-assign]


def _counted(
    number: int, handler: Callable[[Any], Any], cells: memoryview, lock: threading.Lock
) -> Callable[[Any], Any]:
    def counted(request: Any) -> Any:
        began = time.thread_time_ns()
        try:
            return handler(request)
        finally:
            used = time.thread_time_ns() - began
            with lock:
                cells[number] += 1
                cells[OPCODES + number] += used

    return counted


def read(path: Path) -> tuple[array[int], array[int]]:
    """How often, and nanoseconds, by opcode."""
    cells = array("Q", path.read_bytes())
    return cells[:OPCODES], cells[OPCODES:]


if __name__ == "__main__":
    install(Path(sys.argv.pop(1)))
    main()
