"""Throughput against the peers that are installed, in interleaved rounds of one run."""

from __future__ import annotations

import argparse
import shutil
import tarfile
from pathlib import Path

from demo_steps import tree

from benchmark import peers, small_work, workloads
from benchmark.comparison import compare
from benchmark.workloads import Workload

WRITE, UNPACK, FIND, CLONE = "sequential write + fsync", "untar", "find -size, cold", "git clone + status"
ALL = (  # in this order: each needs what the ones before it left
    Workload(WRITE, "MB/s", workloads.write_stream),
    Workload("sequential read, cold", "MB/s", workloads.read_stream, WRITE),
    Workload("random read, 4 KiB, cold", "op/s", small_work.read_random, WRITE),
    Workload("random write, 4 KiB + fsync", "op/s", small_work.write_random, WRITE),
    Workload("append 512 bytes", "op/s", small_work.append),
    Workload("SQLite, one-row transactions", "tx/s", small_work.transactions),
    Workload(UNPACK, "entries/s", workloads.unpack),
    Workload(FIND, "entries/s", workloads.find_cold, UNPACK),
    Workload("find -size, warm", "entries/s", workloads.find_warm, FIND),
    Workload("read all files, cold", "entries/s", workloads.read_all, UNPACK),
    Workload("rm -rf", "entries/s", workloads.remove, UNPACK),
    Workload(CLONE, "entries/s", small_work.clone),
    Workload("git status, cold", "entries/s", small_work.status, CLONE),
)


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints; returns the exit code."""
    chosen = workloads.chosen(ALL, arguments.only)
    return compare(
        arguments, "throughput", peers.ALL, chosen, lambda here: make_plan(here, arguments.stream_mib)
    )


def make_plan(here: Path, stream_mib: int) -> workloads.Plan:
    """A tar file and a repository of the interpreter's standard library."""
    archive, library = here / "source.tar", here / "library"
    tree.copy_library(library)
    with tarfile.open(archive, "w") as tar:
        tar.add(library, "library")
    small_work.make_repository(here / "repository", library)
    shutil.rmtree(library)
    with tarfile.open(archive) as tar:
        return workloads.Plan(stream_mib, archive, len(tar.getnames()), here / "repository")
