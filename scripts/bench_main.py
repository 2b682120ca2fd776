"""Measurements. Run scripts/bench, which installs what this needs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmark import airtime, counts, directory, link, plot, startup, throughput


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    subjects = parser.add_subparsers(dest="subject", required=True)
    rates = subjects.add_parser(
        "throughput",
        help="against the peers that are installed (--install-peers: by apt)",
    )
    rates.add_argument("--stream-mib", type=int, default=512, help="the sequential file (%(default)s)")
    rates.add_argument("--base", type=Path, help="where to work (/dev/shm: no disk is measured)")
    rates.add_argument(
        "--only", action="append", default=[], metavar="WORD", help="workloads with this in their names"
    )
    rates.set_defaults(measure=throughput.run, rounds=3)
    many = subjects.add_parser("directory", help="one directory of very many entries, against the same peers")
    many.add_argument("--entries", type=int, default=100_000, help="how many (%(default)s)")
    many.add_argument("--base", type=Path, help="where to work (/dev/shm: no disk is measured)")
    many.set_defaults(measure=directory.run, rounds=3)
    for subject in (rates, many):
        subject.add_argument(
            "--systems", action="append", default=[], metavar="NAME", help="only this one (again: and that)"
        )
        subject.add_argument("--plot", type=Path, metavar="STEM", help="ratios as STEM.png and STEM.svg")
    picture = subjects.add_parser("plot", help="the picture of an earlier run's JSON file")
    picture.add_argument("file", type=Path)
    picture.add_argument("plot", type=Path, metavar="STEM")
    picture.set_defaults(measure=plot.run)
    asked = subjects.add_parser(
        "requests", help="what the kernel asks for one workload, and the processor time"
    )
    asked.add_argument("--cipher", default="aes-256-gcm", choices=("aes-256-gcm", "aes-256-xts"))
    asked.add_argument("--stream-mib", type=int, default=128, help="the sequential file (%(default)s)")
    asked.add_argument(
        "--only", action="append", default=[], metavar="WORD", help="workloads with this in their names"
    )
    asked.set_defaults(measure=counts.run)
    unlock = subjects.add_parser("unlock", help="mounting with a virtual phone over a virtual radio")
    unlock.set_defaults(measure=link.unlock, rounds=15)
    outage = subjects.add_parser("outage", help="radio dead to frozen, locked; back to unlocked")
    outage.set_defaults(measure=link.outage, rounds=5)
    air = subjects.add_parser(
        "airtime", help="heartbeats of an idle folder on the air, with and without sniff mode"
    )
    air.add_argument("--seconds", type=float, default=30, help="for each setting (%(default)s)")
    air.set_defaults(measure=airtime.run)
    start = subjects.add_parser("startup", help="quick commands against the bare interpreter")
    start.set_defaults(measure=startup.run, rounds=21)
    for subject in (rates, many, unlock, outage, start):
        subject.add_argument("--rounds", type=int, help="repetitions")
    for subject in (rates, many, unlock, outage, start, air, asked):
        subject.add_argument("--json", type=Path, metavar="FILE", help="all values as JSON")
    arguments = parser.parse_args()
    return int(arguments.measure(arguments))


if __name__ == "__main__":
    sys.exit(main())
