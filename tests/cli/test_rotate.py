"""`phonevault rotate`: a real vault, kills at any moment, and what others may do meanwhile."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.computer import Computer
from support.needs import need_fuse
from support.rotated_vault import by_code, fill, header_epochs, used_epochs, view

pytestmark = pytest.mark.mount


@pytest.fixture(autouse=True)
def fuse() -> None:
    need_fuse()


def test_fresh_slot_secrets(computer: Computer) -> None:
    def wrapped() -> list[str]:
        header = json.loads((computer.vault / "phonevault.json").read_bytes())["header"]
        return [slot["keys"][0]["wrapped"] for slot in header["slots"]]

    first = wrapped()
    computer.run("rotate", "slot", computer.vault, 0, *by_code(computer))
    second = wrapped()
    assert second[0] != first[0] and second[1] == first[1]
    computer.run("rotate", "slot", computer.vault, *by_code(computer))
    assert wrapped()[1] != second[1]
    computer.run("rotate", "slot", computer.vault, 7, *by_code(computer), code=19)
    computer.start_phone()
    computer.run("slot", "test", computer.vault, "--phone", "pocket")
    computer.run("slot", "test", computer.vault, *by_code(computer))


@pytest.mark.parametrize("cipher", ["aes-256-gcm", "aes-256-xts"])
def test_a_new_volume_key(computer: Computer, cipher: str) -> None:
    if cipher == "aes-256-xts":
        computer.vault = computer.root / "xts"
        computer.code_file.unlink()
        computer.run(
            "create",
            computer.vault,
            "--no-phone",
            "--single-slot",
            "--recovery-file",
            computer.code_file,
            "--cipher",
            cipher,
        )
    fill(computer, 40)
    before = view(computer)
    said = computer.run("rotate", "master", computer.vault, *by_code(computer)).stdout
    assert "volume key 2, " in said
    assert header_epochs(computer) == {"current": 2, "files": 2, "live": [1, 2], "names": 1}
    assert used_epochs(computer) == {2}
    assert view(computer) == before
    computer.run("rotate", "master", computer.vault, *by_code(computer))
    assert header_epochs(computer) == {"current": 3, "files": 3, "live": [1, 3], "names": 1}
    assert used_epochs(computer) == {3}
    assert view(computer) == before
    computer.mount(*by_code(computer))
    (computer.place / "new").write_text("new")
    computer.run("lock", computer.place)
    computer.run("unlock", computer.place, *by_code(computer))
    assert (computer.place / "new").read_text() == "new"
    computer.run("unmount", computer.place)


@pytest.mark.anyone
def test_the_phone_opens_what_was_rotated_without_it(computer: Computer) -> None:
    fill(computer, 5)
    computer.run("rotate", "master", computer.vault, *by_code(computer))
    computer.start_phone()
    computer.mount("--phone", "pocket")
    assert (computer.place / "link").read_bytes() == random.Random(1).randbytes(37)
    computer.run("unmount", computer.place)


KILLED = str(Path(__file__).parents[1] / "support" / "killed_command.py")


def rotate_killed_at(computer: Computer, number: int, when: str) -> str:
    argv = [sys.executable, KILLED, str(number), when, "rotate", "master", str(computer.vault)]
    child = computer.spawn([*argv, *map(str, by_code(computer))])
    said, _ = child.communicate()
    assert child.returncode == (-signal.SIGKILL if number else 0), said
    return said


def survives_kills_at(computer: Computer, chosen: Callable[[int], Sequence[int]]) -> None:
    """Kills rotations at chosen changes of the disk, each gone on with by the next one; nothing is ever lost."""
    fill(computer, 25)
    before = view(computer)
    changes = int(rotate_killed_at(computer, 0, "").rpartition("changes: ")[2])
    # Each epoch that is begun and not finished by a kill early on stays live: finish now and then.
    for number in chosen(changes):
        for when in ("before", "after"):
            rotate_killed_at(computer, number, when)
            computer.run("slot", "test", computer.vault, *by_code(computer))
            now = view(computer)
            assert {name: seen[:3] + seen[4:] for name, seen in now.items()} == {
                name: seen[:3] + seen[4:] for name, seen in before.items()
            }, (number, when)
            # Between the header and the time put back after it lies one moment, and one file.
            assert sum(now[name] != before[name] for name in now) <= 2  # under both of its names
            rotate_killed_at(computer, 0, "")
            before = view(computer)  # what the recovery put back has a new time, too
            assert sum(now[name] != before[name] for name in now) <= 2
            epoch = header_epochs(computer)["current"]
            ended = {"current": epoch, "files": epoch, "live": [1, epoch], "names": 1}
            assert header_epochs(computer) == ended
            assert used_epochs(computer) == {epoch}


@pytest.mark.anyone
def test_a_killed_rotation_loses_nothing_and_goes_on(computer: Computer) -> None:
    survives_kills_at(computer, lambda changes: random.sample(range(1, changes), 3))


@pytest.mark.slow
def test_a_rotation_killed_at_every_change_of_the_disk(computer: Computer) -> None:
    survives_kills_at(computer, lambda changes: range(1, changes))


def test_ctrl_c_stops_between_two_files(computer: Computer) -> None:
    fill(computer, 1600)  # longer than one slice of work
    child = computer.start("rotate", "master", computer.vault, "--duty", 0.02, *by_code(computer))
    while not (computer.vault / "journal").is_dir() or not list((computer.vault / "journal").iterdir()):
        time.sleep(0.01)
    time.sleep(0.2)
    child.send_signal(signal.SIGINT)
    said, _ = child.communicate()
    assert child.returncode == 130, said
    assert "goes on" in said
    assert header_epochs(computer)["files"] == 1
    again = computer.run("rotate", "master", computer.vault, *by_code(computer))
    assert "volume key 2, " in again.stdout
    assert used_epochs(computer) == {2}


@pytest.mark.anyone
def test_a_damaged_file_is_told_and_its_key_kept(computer: Computer) -> None:
    fill(computer, 10)
    victim = next(p for p in (computer.vault / "tree").rglob("*") if p.is_file() and p.stat().st_size > 1000)
    raw = bytearray(victim.read_bytes())
    raw[60] ^= 1
    victim.write_bytes(raw)
    computer.run("rotate", "master", computer.vault, *by_code(computer), code=31)
    again = computer.run("rotate", "master", computer.vault, *by_code(computer), code=31)
    assert "1 damaged file header could" in again.stderr
    assert header_epochs(computer) == {"current": 2, "files": 1, "live": [1, 2], "names": 1}
    raw[60] ^= 1
    victim.write_bytes(raw)
    computer.run("rotate", "master", computer.vault, *by_code(computer))
    assert used_epochs(computer) == {2}


@pytest.mark.anyone
def test_an_old_header_is_not_put_back_unasked(computer: Computer) -> None:
    backup: Path = computer.root / "backup"
    computer.run("header", "backup", computer.vault, backup)
    computer.run("rotate", "master", computer.vault, *by_code(computer))
    told = computer.run("header", "restore", computer.vault, backup, *by_code(computer), code=3)
    assert "volume keys were changed" in told.stderr


@pytest.mark.anyone
def test_a_header_that_was_put_back_is_told(computer: Computer) -> None:
    kept = {name: (computer.vault / name).read_bytes() for name in ("phonevault.json", "phonevault.json.bak")}
    added = computer.run(
        "slot", "add", computer.vault, "--new-recovery-file", computer.root / "2", *by_code(computer)
    )
    assert "older" not in added.stderr
    assert "older" not in computer.run("slot", "test", computer.vault, *by_code(computer)).stderr
    for name, data in kept.items():
        (computer.vault / name).write_bytes(data)
    told = computer.run("rotate", "master", computer.vault, *by_code(computer), code=3).stderr
    assert "is older than one met here before" in told
    assert (
        "older than one met"
        in computer.run("mount", computer.vault, computer.place, *by_code(computer)).stderr
    )
    computer.run("rotate", "master", computer.vault, *by_code(computer), code=3)
    computer.run("unmount", computer.place)
    computer.run("rotate", "master", computer.vault, "--yes", *by_code(computer))


def test_a_tree_deeper_than_the_usual_number_of_descriptors(computer: Computer) -> None:
    computer.mount(*by_code(computer))
    fd = os.open(computer.place, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    computer.run("unmount", computer.place)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        computer.run("rotate", "master", computer.vault, *by_code(computer))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
