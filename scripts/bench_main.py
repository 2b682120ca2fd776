"""Measurements. Run scripts/bench, which installs what this needs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmark import (
    airtime,
    counts,
    directory,
    link,
    page,
    plot,
    rotation,
    rotation_mounted,
    roundtrip,
    scaling,
    startup,
    throughput,
)


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    subjects = parser.add_subparsers(dest="subject", required=True)
    for add in (_add_comparisons, _add_scaling, _add_requests, _add_rotation, _add_link, _add_startup):
        for subject in add(subjects):
            subject.add_argument("--json", type=Path, metavar="FILE", help="all values as JSON")
    _add_presentation(subjects)
    arguments = parser.parse_args()
    return int(arguments.measure(arguments))


_Subjects = argparse._SubParsersAction  # what add_subparsers() returns; it has no public name
_Added = tuple[argparse.ArgumentParser, ...]


def _add_comparisons(subjects: _Subjects[argparse.ArgumentParser]) -> _Added:
    rates = subjects.add_parser(
        "throughput",
        help="against the peers that are installed (--install-peers: by apt)",
    )
    rates.add_argument("--stream-mib", type=int, default=512, help="the sequential file (%(default)s)")
    _add_only(rates)
    rates.set_defaults(measure=throughput.run, rounds=3)
    many = subjects.add_parser("directory", help="one directory of very many entries, against the same peers")
    many.add_argument("--entries", type=int, default=100_000, help="how many (%(default)s)")
    many.set_defaults(measure=directory.run, rounds=3)
    for subject in (rates, many):
        _add_systems(subject)
        subject.add_argument("--plot", type=Path, metavar="STEM", help="ratios as STEM.png and STEM.svg")
    return rates, many


def _add_scaling(subjects: _Subjects[argparse.ArgumentParser]) -> _Added:
    grow = subjects.add_parser("scaling", help="rates over size, against the same peers")
    part_help = "only this one (again: and that)"
    grow.add_argument("--part", action="append", choices=scaling.PARTS, help=part_help)
    grow.add_argument("--max-entries", type=int, default=100_000, help="of a directory (%(default)s)")
    size_help = "of a file, at most 4GiB (%(default)s)"
    grow.add_argument("--max-size", type=scaling.size_of, default="1GiB", help=size_help)
    grow.add_argument(
        "--tree", type=int, default=200_000, metavar="N", help="files of the tree (%(default)s)"
    )
    cell_help = "leave out what takes one system longer than that at one size (%(default)s)"
    grow.add_argument("--cell-s", type=float, default=30, help=cell_help)
    minutes_help = "begin no round of a part that would end later (%(default)s)"
    grow.add_argument("--part-minutes", type=float, default=3, help=minutes_help)
    _add_systems(grow)
    grow.add_argument("--plot", type=Path, metavar="STEM", help="curves as STEM-PART.png and STEM-PART.svg")
    grow.set_defaults(measure=scaling.run, rounds=3)
    return (grow,)


def _add_requests(subjects: _Subjects[argparse.ArgumentParser]) -> _Added:
    asked = subjects.add_parser(
        "requests", help="what the kernel asks for one workload, and the processor time"
    )
    asked.add_argument("--cipher", default="aes-256-gcm", choices=("aes-256-gcm", "aes-256-xts"))
    asked.add_argument("--stream-mib", type=int, default=128, help="the sequential file (%(default)s)")
    _add_only(asked)
    asked.set_defaults(measure=counts.run)
    return (asked,)


def _add_rotation(subjects: _Subjects[argparse.ArgumentParser]) -> _Added:
    anew = subjects.add_parser(
        "rotation", help="rotate content and rotate master, against cp -a of the ciphertext"
    )
    anew.add_argument("--files", type=int, default=2000, help="small files, of 4 KiB (%(default)s)")
    anew.add_argument("--mib", type=int, default=256, help="the large file (%(default)s)")
    anew.add_argument("--base", type=Path, help="where to work (/dev/shm: no disk is measured)")
    _add_rounds(anew)
    anew.set_defaults(measure=rotation.run, rounds=5)
    beside = subjects.add_parser(
        "rotation-mounted", help="a folder in use while its keys are rotated, and while not"
    )
    beside.add_argument("--files", type=int, default=8000, help="of the tree (%(default)s)")
    beside.add_argument("--kind", choices=("master", "content"), default="master", help="what is rotated")
    beside.add_argument("--base", type=Path, help="where to work (/dev/shm: no disk is measured)")
    _add_rounds(beside)
    beside.set_defaults(measure=rotation_mounted.run, rounds=5)
    return anew, beside


def _add_link(subjects: _Subjects[argparse.ArgumentParser]) -> _Added:
    trips = subjects.add_parser("roundtrip", help="a heartbeat, an RSA unwrap and an unlock by transport")
    trips.add_argument("--beats", type=int, default=200, help="heartbeats a round (%(default)s)")
    trips.set_defaults(measure=roundtrip.run, rounds=5)
    unlock = subjects.add_parser("unlock", help="mounting with a virtual phone over a virtual radio")
    unlock.set_defaults(measure=link.unlock, rounds=15)
    outage = subjects.add_parser("outage", help="radio dead to frozen, locked; back to unlocked")
    outage.set_defaults(measure=link.outage, rounds=5)
    air = subjects.add_parser(
        "airtime", help="heartbeats of an idle folder on the air, with and without sniff mode"
    )
    air.add_argument("--seconds", type=float, default=30, help="for each setting (%(default)s)")
    air.set_defaults(measure=airtime.run)
    for subject in (trips, unlock, outage):
        _add_rounds(subject)
    return trips, unlock, outage, air


def _add_startup(subjects: _Subjects[argparse.ArgumentParser]) -> _Added:
    start = subjects.add_parser("startup", help="quick commands against the bare interpreter")
    start.set_defaults(measure=startup.run, rounds=21)
    _add_rounds(start)
    return (start,)


def _add_presentation(subjects: _Subjects[argparse.ArgumentParser]) -> None:
    picture = subjects.add_parser("plot", help="the picture of an earlier run's JSON file")
    picture.add_argument("file", type=Path)
    picture.add_argument("plot", type=Path, metavar="STEM")
    picture.set_defaults(measure=plot.run)
    text = subjects.add_parser("page", help="tables and pictures of earlier runs into docs/performance.md")
    text.add_argument("file", type=Path, nargs="+", help="JSON of throughput, scaling or roundtrip")
    text.set_defaults(measure=page.run)


def _add_systems(subject: argparse.ArgumentParser) -> None:
    subject.add_argument(
        "--systems", action="append", default=[], metavar="NAME", help="only this one (again: and that)"
    )
    subject.add_argument("--base", type=Path, help="where to work (/dev/shm: no disk is measured)")
    _add_rounds(subject)


def _add_only(subject: argparse.ArgumentParser) -> None:
    subject.add_argument(
        "--only", action="append", default=[], metavar="WORD", help="workloads with this in their names"
    )


def _add_rounds(subject: argparse.ArgumentParser) -> None:
    subject.add_argument("--rounds", type=int, help="repetitions")


if __name__ == "__main__":
    sys.exit(main())
