"""Workloads of many small requests: random access, appending, a database, a repository."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.systems import System
from benchmark.workloads import STREAM, Plan, take_memory, timed

BLOCK_BYTES = 4096
BLOCKS = 10_000
APPENDS, APPEND_BYTES = 20_000, 512
TRANSACTIONS = 300
CLONE = "clone"
_SEED = 1
_A_LATER_SECOND_S = 1.1


def read_random(system: System, plan: Plan) -> float:
    """Blocks of 4 KiB all over the large file, right after mounting: operations/s."""
    system.remount()
    return _at_random(system, plan, os.O_RDONLY, lambda file, at: os.pread(file, BLOCK_BYTES, at))


def write_random(system: System, plan: Plan) -> float:
    """The same written, fsync at the end included: operations/s."""
    system.remount()
    block = os.urandom(BLOCK_BYTES)
    return _at_random(system, plan, os.O_WRONLY, lambda file, at: os.pwrite(file, block, at))


def _at_random(system: System, plan: Plan, flags: int, act: Callable[[int, int], object]) -> float:
    # Each block at most once, so that no page of the kernel answers; always the same places, for all systems.
    total = plan.stream_mib * 256
    places = random.Random(_SEED).sample(range(total), min(BLOCKS, total))
    take_memory(plan)

    def action() -> None:
        with _opened(system.mountpoint / STREAM, flags) as file:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
            for place in places:
                act(file, place * BLOCK_BYTES)
            if flags != os.O_RDONLY:
                os.fsync(file)

    return len(places) / timed(system, action)


def append(system: System, plan: Plan) -> float:
    """Records of 512 bytes at the end of a file, as a log has them; one fsync at the end: records/s."""
    del plan
    record = os.urandom(APPEND_BYTES)

    def action() -> None:
        with _opened(system.mountpoint / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND) as file:
            for _ in range(APPENDS):
                os.write(file, record)
            os.fsync(file)

    return APPENDS / timed(system, action)


def transactions(system: System, plan: Plan) -> float:
    """SQLite with its defaults, one row a transaction: transactions/s."""
    del plan
    with sqlite3.connect(system.mountpoint / "rows.sqlite", isolation_level=None) as database:
        database.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, text TEXT)")

        def action() -> None:
            for number in range(TRANSACTIONS):
                database.execute("INSERT INTO rows VALUES (?, ?)", (number, "x" * 100))

        rate = TRANSACTIONS / timed(system, action)
    database.close()
    return rate


def clone(system: System, plan: Plan) -> float:
    """Git clone of a local repository, then git status: entries of its tree/s."""

    def action() -> None:
        git("clone", "-q", "--no-hardlinks", str(plan.repository), CLONE, cwd=system.mountpoint)
        git("status", "--porcelain", cwd=system.mountpoint / CLONE)

    return plan.entries / timed(system, action)


def status(system: System, plan: Plan) -> float:
    """Git status of that clone right after mounting: entries of its tree/s.

    Git compares whole seconds: files as young as its index are read again, and a faster clone leaves more of them. So the index is made
    anew in a later second.
    """
    repository = system.mountpoint / CLONE
    time.sleep(_A_LATER_SECOND_S)
    git("read-tree", "HEAD", cwd=repository)
    git("update-index", "-q", "--refresh", cwd=repository)
    system.remount()
    return plan.entries / timed(system, lambda: git("status", "--porcelain", cwd=repository))


def make_repository(repository: Path, tree: Path) -> None:
    """A repository with one commit of a tree."""
    repository.mkdir()
    git("init", "-q", cwd=repository)
    git("--work-tree", str(tree), "add", "-A", "-f", ".", cwd=repository)
    who = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
    git(*who, "commit", "-q", "-m", "everything", cwd=repository)


def git(*words: str, cwd: Path) -> None:
    """Run git without the user's settings."""
    settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    command = ["git", "-c", "core.autocrlf=false", *words]
    subprocess.run(command, cwd=cwd, env={**os.environ, **settings}, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, flags, 0o600)
    try:
        yield file
    finally:
        os.close(file)
