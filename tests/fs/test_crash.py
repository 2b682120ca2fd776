"""``kill -9`` of the file system at any moment of a load: what was acknowledged is there, and everything can be read."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import crash_load, write_storm
from support.mounted_tree import MountedTree
from support.needs import need_fuse

pytestmark = pytest.mark.mount

LOADS = 2
CIPHERS = ["aes-256-gcm", "aes-256-xts"]


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


def one_kill(tree: MountedTree, number: int, chance: random.Random) -> int:
    """Loads and a storm, a kill, a new mount, and a look at everything.

    Returns:
        How many requests of the loads were answered.
    """
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
    tree.start()
    requests = 0
    for directory, expectation in zip(directories, expectations, strict=True):
        expect = pickle.loads(expectation.read_bytes())
        requests += expect.requests
        assert not crash_load.check(directory, expect)
    mixed = write_storm.mixed_pieces(storm_file)
    assert not mixed or tree.cipher == "aes-256-xts", "a write is there in part"
    storm_file.unlink()
    return requests


def survive(base: Path, cipher: str, kills: int) -> tuple[int, int]:
    """Kill a file system under load that often.

    Returns:
        How many requests were answered, and how many changes were undone.
    """
    need_fuse()
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    tree = MountedTree(base, cipher)
    tree.start()
    requests = undone = 0
    try:
        for number in range(kills):
            requests += one_kill(tree, number, chance)
            undone += tree.undone
    finally:
        tree.stop()
    assert not os.path.exists(base / "journal")
    return requests, undone


@pytest.mark.parametrize("cipher", CIPHERS)
def test_killed_under_load_nothing_acknowledged_is_lost(tmp_path: Path, cipher: str) -> None:
    requests, _ = survive(tmp_path, cipher, 5)
    assert requests


@pytest.mark.slow
@pytest.mark.parametrize("cipher", CIPHERS)
def test_killed_under_load_many_times(tmp_path: Path, cipher: str) -> None:
    requests, undone = survive(tmp_path, cipher, 100)
    print(f"{cipher}: 100 kills, {requests} requests answered, {undone} half-done changes undone")
    assert undone or cipher == "aes-256-xts"
