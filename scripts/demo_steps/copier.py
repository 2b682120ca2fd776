"""Copies a tree's files one by one, each made durable with fsync, and notes in a log what was acknowledged.

Run as a program: copier.py SOURCE TARGET LOG. The log lies outside the vault; a line is written only when
fsync of the file and of its directory have returned. Exit code 0: all copied; 3: the target refused.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

PAUSE_S = 0.004  # a copy long enough to be interrupted in its middle


def plan(source: Path) -> list[Path]:
    """The files to copy, in a fixed order."""
    return sorted(path for path in source.rglob("*.py") if path.is_file() and not path.is_symlink())


def target_of(index: int, target: Path) -> Path:
    """Where the file of that number goes."""
    return target / f"copy {index:05}"


def copy_durably(source: Path, target: Path) -> None:
    """Returns when data and name are acknowledged as durable."""
    with target.open("xb") as file:
        file.write(source.read_bytes())
        file.flush()
        os.fsync(file.fileno())
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def main(source: Path, target: Path, log: Path) -> int:
    """Copies until the end or the first error."""
    with log.open("w") as acknowledged:
        for index, path in enumerate(plan(source)):
            try:
                copy_durably(path, target_of(index, target))
            except OSError as error:
                print(f"{error.strerror} (errno {error.errno}) at file {index}", flush=True)
                return 3
            acknowledged.write(f"{index}\n")
            acknowledged.flush()
            time.sleep(PAUSE_S)
    print("all files copied", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:4])))
