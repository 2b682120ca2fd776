"""``kill -9`` of the file system at any moment of a load: what was acknowledged is there, and everything can be read."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support import crash_load, write_storm
from support.checking import check
from support.mounted_tree import MountedTree
from support.needs import need_fuse

from phonevault.check.findings import Code
from phonevault.fs.recovery import recover

pytestmark = [pytest.mark.mount, pytest.mark.anyone]

LOADS = 2
CIPHERS = ["aes-256-gcm", "aes-256-xts"]
EXPLAINED = {str(code) for code in (Code.LEFTOVER, Code.LONG_NAME_ORPHAN, Code.FILE_HEADER_ALONE)}
"""What the checker may find after a kill: changes that were not answered, and harm nobody."""


@dataclass
class Outcome:
    """Of kills.

    Attributes:
        requests: of the loads, that were answered.
        undone: changes that recovery undid.
        notes: what the checker found, by its codes.
    """

    requests: int = 0
    undone: int = 0
    notes: Counter[str] = field(default_factory=Counter)


def _start(program: str, *words: object, wait: bool = False) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, program, *map(str, words)],
        stdout=subprocess.PIPE if wait else None,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if process.stdout is not None:
        assert process.stdout.readline() == b"ready\n"
        process.stdout.close()
    return process


def one_kill(tree: MountedTree, number: int, chance: random.Random) -> Outcome:
    """Loads and a storm, a kill, and a look at everything: at the ciphertext by the checker, and through a new mount."""
    storm_file = tree.path / f"{number}-storm"
    directories = [tree.path / f"{number}-{load}" for load in range(LOADS)]
    expectations = [tree.base / f"expect-{number}-{load}" for load in range(LOADS)]
    programs = [_start(write_storm.__file__, storm_file, wait=True)]
    for directory, expectation in zip(directories, expectations, strict=True):
        directory.mkdir()
        programs.append(_start(crash_load.__file__, directory, chance.randrange(1 << 32), expectation))
    time.sleep(0.1 + chance.random() * 0.5)
    tree.kill()
    assert [program.wait(20) for program in programs] == [0] * len(programs)
    outcome = Outcome(undone=recover(tree.base / "journal", tree.tree).put_back)
    outcome.notes.update(str(finding.code) for finding in check(tree.tree, tree.cipher))
    assert set(outcome.notes) <= EXPLAINED
    tree.start()
    for directory, expectation in zip(directories, expectations, strict=True):
        expect = pickle.loads(expectation.read_bytes())
        outcome.requests += expect.requests
        assert not crash_load.check(directory, expect)
        shutil.rmtree(directory)
    mixed = write_storm.mixed_pieces(storm_file)
    assert not mixed or tree.cipher == "aes-256-xts", "a write is there in part"
    storm_file.unlink()
    return outcome


def survive(base: Path, cipher: str, kills: int) -> Outcome:
    """Kill a file system under load that often."""
    need_fuse()
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    tree = MountedTree(base, cipher)
    tree.start()
    total = Outcome()
    try:
        for number in range(kills):
            outcome = one_kill(tree, number, chance)
            total.requests += outcome.requests
            total.undone += outcome.undone
            total.notes += outcome.notes
    finally:
        tree.stop()
    assert not os.path.exists(base / "journal")
    return total


@pytest.mark.parametrize("cipher", CIPHERS)
def test_killed_under_load_nothing_acknowledged_is_lost(tmp_path: Path, cipher: str) -> None:
    assert survive(tmp_path, cipher, 5).requests


@pytest.mark.slow
@pytest.mark.parametrize("cipher", CIPHERS)
def test_killed_under_load_many_times(tmp_path: Path, cipher: str) -> None:
    outcome = survive(tmp_path, cipher, 100)
    print(f"{cipher}: 100 kills, {outcome}")
    assert outcome.undone or cipher == "aes-256-xts"
