"""What a quick command costs beyond the interpreter's own start: processor time, in interleaved rounds."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table

from benchmark import results

PROGRAM = (sys.executable, "-m", "phonevault.cli.main")
BARE = "python -c pass"
COMMANDS: Mapping[str, Sequence[str]] = {
    BARE: (sys.executable, "-c", "pass"),
    "import click": (sys.executable, "-c", "import click"),
    "phonevault --help": (*PROGRAM, "--help"),
    "phonevault status": (*PROGRAM, "status"),
    "phonevault doctor --help": (*PROGRAM, "doctor", "--help"),
    "phonevault speed --help": (*PROGRAM, "speed", "--help"),
}


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints; returns the exit code."""
    times_ms: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as runtime:
        environment = {**os.environ, "XDG_RUNTIME_DIR": runtime}
        for argv in COMMANDS.values():
            processor_ms(argv, environment)  # byte code is written
        for _ in range(arguments.rounds):
            for name, argv in COMMANDS.items():
                times_ms[name].append(processor_ms(argv, environment))
    table = Table(box=box.MARKDOWN)
    for column in ("command", "processor time, median", f"÷ {BARE}"):
        table.add_column(column, justify="left" if column == "command" else "right")
    medians = {name: statistics.median(values) for name, values in times_ms.items()}
    for name, median in medians.items():
        table.add_row(name, f"{median:.0f} ms", f"{median / medians[BARE]:.1f}")
    results.console().print(table)
    results.write_json(arguments.json, "startup", {"processor_ms": times_ms})
    return 0


def processor_ms(argv: Sequence[str], environment: Mapping[str, str]) -> float:
    """User and system time of a command (wait4(2)), which must succeed."""
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawn(argv[0], argv, environment, file_actions=silent)
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        raise SystemExit(f"error: {' '.join(argv)} ended with {os.waitstatus_to_exitcode(status)}")
    return (usage.ru_utime + usage.ru_stime) * 1000
