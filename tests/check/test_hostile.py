"""Random damage of a whole tree: no crash, no loss by a repair, and a second repair has nothing to do. Repairs that are killed."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from check.ciphertext import CIPHERS, LONG, Ciphertext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.checking import check
from support.steps import killed_before, watch

from phonevault.fs.format import dirid, links, names

STEPS = st.tuples(
    st.sampled_from(["flip", "cut", "delete", "rename", "move", "copy", "zero", "grow", "swap", "stand in"]),
    st.integers(0, 1 << 30),
    st.integers(0, 1 << 30),
)


class Damager:
    """Damages a ciphertext tree as chance, or somebody with access to it, may."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree

    def do(self, step: str, one: int, two: int) -> None:
        everything = sorted(path for path in self.tree.rglob("*"))
        if not everything:
            return
        path, other = everything[one % len(everything)], everything[two % len(everything)]
        is_file = path.is_file() and not path.is_symlink()
        if step in ("flip", "cut", "zero", "grow"):
            if is_file and path.stat().st_size:
                self._change(step, path, two)
        elif step == "delete":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        elif step == "rename":
            name = (
                path.name[: two % len(path.name)]
                + "Zz.-\x1b"[two % 5]
                + path.name[two % len(path.name) + 1 :]
            )
            _quietly(lambda: path.rename(path.with_name(name)))
        elif step == "move":
            _quietly(lambda: path.rename((other if other.is_dir() else other.parent) / path.name))
        elif step == "copy" and is_file and not os.path.lexists(other.parent / path.name):
            shutil.copyfile(path, other.parent / path.name)
        elif step == "swap" and is_file and other.is_file() and not other.is_symlink():
            here, there = path.read_bytes(), other.read_bytes()
            path.write_bytes(there)
            other.write_bytes(here)
        elif step == "stand in" and not path.is_dir():
            path.unlink()
            [os.mkfifo, os.mkdir, lambda place: os.symlink("/etc/passwd", place)][two % 3](path)

    def _change(self, step: str, path: Path, two: int) -> None:
        raw = bytearray(path.read_bytes())
        place = two % len(raw)
        if step == "flip":
            raw[place] ^= 1 << two % 8
        elif step == "cut":
            del raw[place:]
        elif step == "zero":
            raw[place : place + 5000] = bytes(len(raw[place : place + 5000]))
        else:
            raw += bytes([two % 256]) * (two % 5000)
        path.write_bytes(raw)


def _quietly(act: Callable[[], object]) -> None:
    try:
        act()
    except OSError:
        return  # into itself, over something


def readable(made: Ciphertext) -> Counter[bytes]:
    """What the files hold that can be read, wherever they are."""
    return Counter(contents for contents in made.visible().values() if contents is not None)


def settle(made: Ciphertext) -> None:
    """Repair, and look at what that must have kept and left."""
    before = readable(made)
    repaired = check(made.tree, made.cipher, repair=True)
    # A directory with something in it, where a small file of ours belongs, is not removed.
    assert {finding.failed for finding in repaired} <= {"", "Directory not empty", "Is a directory"}
    assert before <= readable(made)
    left = Counter(finding.code for finding in repaired if not finding.repaired)
    again = check(made.tree, made.cipher, repair=True)
    assert Counter(finding.code for finding in again) == left


@pytest.fixture(scope="module", params=CIPHERS)
def pattern(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ciphertext:
    return Ciphertext.make(tmp_path_factory.mktemp("pattern") / "tree", request.param)


def copy_of(pattern: Ciphertext, place: Path) -> Ciphertext:
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run(["cp", "-a", pattern.tree, place], check=True)
    return Ciphertext(place, pattern.cipher)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=12))
def test_random_damage(pattern: Ciphertext, tmp_path: Path, steps: list[tuple[str, int, int]]) -> None:
    made = copy_of(pattern, tmp_path / "tree")
    damager = Damager(made.tree)
    for step in steps:
        damager.do(*step)
    check(made.tree, made.cipher)
    settle(made)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=40))
def test_much_random_damage(pattern: Ciphertext, tmp_path: Path, steps: list[tuple[str, int, int]]) -> None:
    made = copy_of(pattern, tmp_path / "tree")
    damager = Damager(made.tree)
    for step in steps:
        damager.do(*step)
    settle(made)


def ruin(made: Ciphertext) -> None:
    """One of each kind of damage that a repair does something about."""
    (made.stored(b"folder") / dirid.FILE_NAME).write_bytes(b"rotten")
    stored = made.stored(b"blocks")
    stored.rename(stored.with_name("nonsense.sync"))
    os.unlink(made.stored(LONG))
    made.mkdir(b"leftover")
    made.stored(b"leftover").rename(made.tree / "phonevault.tmp.0123456789abcdef")
    made.mkdir(b"full")
    made.write(b"full/" + LONG, b"contents")
    sidecar = made.stored(b"full/" + LONG)
    sidecar.with_name(sidecar.name + names.LONG_SUFFIX).unlink()
    made.stored(b"full").rename(made.tree / "phonevault.tmp.0000456789abcdef")
    (made.tree / links.DIRECTORY / ("A" * 21 + "g")).write_bytes(b"needless")


SOME = [pytest.param(4, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)]


@pytest.fixture
def ruined(tmp_path: Path) -> Ciphertext:
    made = Ciphertext.make(tmp_path / "ruined", "aes-256-gcm")
    ruin(made)
    return made


@pytest.mark.parametrize("stride", SOME)
def test_a_repair_that_is_killed_is_taken_up(ruined: Ciphertext, tmp_path: Path, stride: int) -> None:
    """Killed before its changes in turn: nothing readable is lost, and the next repair settles it."""
    before = readable(ruined)
    step = 0
    while True:
        step += stride
        made = copy_of(ruined, tmp_path / "tree")
        if not killed_before(step, lambda made=made: check(made.tree, made.cipher, repair=True)):
            break
        assert before <= readable(made)
        settle(made)
        assert check(made.tree, made.cipher) == []
    assert step > 30
    assert check(made.tree, made.cipher) == []


@pytest.mark.parametrize("stride", SOME)
def test_a_repair_that_is_refused_loses_nothing(ruined: Ciphertext, tmp_path: Path, stride: int) -> None:
    """Its changes fail in turn, as on a full disk: told, and done by the next repair."""
    before = readable(ruined)
    step, failed = 0, True
    while failed:
        step += stride
        made = copy_of(ruined, tmp_path / "tree")
        failed = refused_at(step, made)
        assert before <= readable(made)
        settle(made)
        assert check(made.tree, made.cipher) == []
    assert step > 30


def refused_at(step: int, made: Ciphertext) -> bool:
    """Whether the repair came to that change."""
    came = False

    def moment(number: int) -> None:
        nonlocal came
        if number == step:
            came = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        watch(patch, moment)
        check(made.tree, made.cipher, repair=True)
    return came
