"""Rotation while mounted: real mounts in use, locks, kills at any moment, other commands that change the header meanwhile."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.computer import Computer, wait_until
from support.memory_scan import scan
from support.needs import need_fuse, need_root
from support.programs import Programs
from support.rotated_vault import (
    by_code,
    create_xts,
    fill,
    header_epochs,
    rotation,
    used_epochs,
    view,
    wait_for_rotation,
)
from support.terminal import OnTerminal

pytestmark = pytest.mark.mount

MANY = 1600
"""Files for more than one slice of work."""
SLOWLY = ("--background", "--duty", 0.01)


@pytest.fixture(autouse=True)
def fuse() -> None:
    need_fuse()


def rotate(computer: Computer, *options: object, code: int = 0) -> str:
    """What the command said."""
    done = computer.run("rotate", "master", computer.vault, *options, *by_code(computer), code=code)
    return done.stdout + done.stderr


def rotate_to_the_middle(computer: Computer) -> None:
    """Returns when some files have the new key, and the others will not have it for a while."""
    rotate(computer, *SLOWLY)
    wait_until(lambda: bool(rotation(computer).get("wrapped")))
    computer.run("rotate", "throttle", computer.place, "--duty", 0.001)
    assert used_epochs(computer) == {1, 2}


class Users(Programs):
    """A writer that keeps what was acknowledged, and one that moves and links. A lock, or the daemon's death, is expected by some tests."""

    def work(self) -> Sequence[Callable[[int], None]]:
        return self._write, self._move

    def _write(self, number: int) -> None:
        self.put(number, f"w{number % 40}", random.Random(number).randbytes(1 + number * 331 % 20_000))

    def _move(self, number: int) -> None:
        here, there = self.place / f"m{number % 5}", self.place / f"d{number % 7}" / "moved"
        here.write_bytes(b"%d" % number)
        os.replace(here, there)
        os.link(there, here)
        there.unlink()
        assert here.read_bytes() == b"%d" % number
        here.unlink()


@pytest.mark.parametrize("cipher", ["aes-256-gcm", "aes-256-xts"])
@pytest.mark.anyone
def test_keys_are_rotated_under_programs_at_work(computer: Computer, cipher: str) -> None:
    if cipher == "aes-256-xts":
        create_xts(computer)
    fill(computer, 200)
    before = view(computer)
    computer.mount(*by_code(computer))
    users = Users(computer.place)
    held = (computer.place / "d1" / "file 8").open("r+b")
    gone = (computer.place / "gone").open("w+b")
    gone.write(b"without a name")
    gone.flush()
    (computer.place / "gone").unlink()
    with users.at_work():
        wait_until(lambda: users.rounds > 3)
        said = rotate(computer)
        at = users.rounds
        wait_until(lambda: users.rounds > at + 3)
    assert not users.problems
    assert "slot 0 (phone: pocket)" in said or cipher == "aes-256-xts"
    assert "volume key 2, " in said
    assert header_epochs(computer) == {"current": 2, "files": 2, "live": [1, 2], "names": 1}
    assert rotation(computer)["state"] == "done"
    users.check()
    gone.seek(0)
    assert gone.read() == b"without a name"
    held.seek(3)
    held.write(b"!")
    held.close()
    gone.close()
    with (computer.place / "d1" / "file 8").open("r+b") as file:
        file.seek(3)
        file.write(random.Random(8).randbytes(9)[3:4])
    os.utime(computer.place / "d1" / "file 8", ns=(0, before["d1/file 8"][3]))
    computer.run("unmount", computer.place)
    assert used_epochs(computer) == {2}
    after = view(computer)
    files = [name for name in before if not (name.startswith("d") and "/" not in name)]
    assert [after[name] for name in files] == [before[name] for name in files]
    computer.run("check", computer.vault, *by_code(computer))


def test_files_in_folders_closed_to_their_owner_are_reached(computer: Computer) -> None:
    fill(computer, 20)
    computer.mount(*by_code(computer))
    closed = computer.place / "closed"
    (closed / "below").mkdir(parents=True)
    for place in (closed, closed / "below"):
        (place / "file").write_text("here")
        (place / "file").chmod(0)
    modes = {closed / "below": 0o000, closed: 0o200}
    for place, mode in modes.items():
        place.chmod(mode)
    assert "volume key 2, " in rotate(computer)
    for place, mode in reversed(modes.items()):
        assert place.stat().st_mode & 0o777 == mode
        place.chmod(0o700)
    for place in modes:
        assert (place / "file").stat().st_mode & 0o777 == 0
        (place / "file").chmod(0o600)
        assert (place / "file").read_text() == "here"
    computer.run("unmount", computer.place)
    assert used_epochs(computer) == {2}


@pytest.mark.anyone
def test_new_files_have_the_new_key_at_once(computer: Computer) -> None:
    fill(computer, MANY)
    computer.mount(*by_code(computer))
    rotate_to_the_middle(computer)
    computer.run("rotate", "pause", computer.place)
    tree = computer.vault / "tree"
    known = {path.lstat().st_ino for path in tree.rglob("*")}
    (computer.place / "new").write_text("new")
    os.sync()
    (new,) = [path for path in tree.iterdir() if path.lstat().st_ino not in known]
    assert new.read_bytes()[8:12] == (2).to_bytes(4, "little")
    assert used_epochs(computer) == {1, 2}
    computer.run("rotate", "throttle", computer.place, "--duty", 1)
    computer.run("rotate", "resume", computer.place)
    wait_for_rotation(computer, "done")
    computer.run("unmount", computer.place)
    assert used_epochs(computer) == {2}


@pytest.mark.anyone
def test_pause_resume_and_throttle(computer: Computer) -> None:
    fill(computer, MANY)
    computer.mount(*by_code(computer))
    computer.run("rotate", "pause", computer.vault, code=32)
    rotate_to_the_middle(computer)
    assert rotation(computer)["duty"] == 0.001
    computer.run("rotate", "pause", computer.vault)
    wait_for_rotation(computer, "paused")
    rested = rotation(computer)
    computer.run("rotate", "throttle", computer.vault, "--duty", 1)  # no rest but the pause
    time.sleep(0.3)
    rested = rotation(computer)
    time.sleep(0.5)
    assert rotation(computer) == rested
    assert used_epochs(computer) == {1, 2}
    listed = json.loads(computer.run("rotate", "status", "--json").stdout)
    (row,) = [row for row in listed if row["mountpoint"] == str(computer.place)]
    assert row == {"vault": str(computer.vault), "mountpoint": str(computer.place), "rotation": rested}
    assert "paused" in computer.run("rotate", "status", computer.place).stdout
    assert "rotation of keys (master): paused" in computer.run("status").stdout
    computer.run("lock", computer.place)  # a pause outlives a lock
    assert rotation(computer)["state"] == "waiting"
    computer.run("unlock", computer.place, *by_code(computer))
    wait_for_rotation(computer, "paused")
    computer.run("rotate", "throttle", computer.place, "--duty", "0.9")
    computer.run("rotate", "resume", computer.vault)
    assert wait_for_rotation(computer, "done")["duty"] == 0.9
    computer.run("rotate", "resume", computer.vault, code=32)
    computer.run("unmount", computer.place)
    assert used_epochs(computer) == {2}
    assert "no rotation" in computer.run("rotate", "status", computer.vault).stderr
    computer.run("rotate", "pause", computer.vault, code=26)


def keys_of(computer: Computer) -> dict[str, bytes]:
    script = Path(__file__).parent / "print_keys.py"
    child = computer.spawn([sys.executable, str(script), str(computer.vault), str(computer.code_file)])
    said, _ = child.communicate()
    found = dict(line.split() for line in said.splitlines())
    return {
        name: bytes.fromhex(value)
        for name, value in found.items()
        if name.startswith(("vmk", "phonevault-v1-file-keys", "phonevault-v1-header"))
    }


@pytest.mark.anyone
def test_a_lock_in_the_middle_leaves_no_key_and_the_next_unlock_goes_on(computer: Computer) -> None:
    need_root()  # the daemon's memory is closed to other processes of its user
    fill(computer, MANY)
    computer.mount(*by_code(computer))
    rotate_to_the_middle(computer)
    secrets = keys_of(computer)
    assert {"vmk-1", "vmk-2"} <= set(secrets)
    pid = computer.status()["pid"]
    assert {"vmk-1", "vmk-2"} <= set(scan(pid, secrets)), "the scan finds keys in use"
    computer.run("lock", computer.place)
    assert scan(pid, secrets) == {}
    assert rotation(computer)["state"] == "waiting"
    rotate(computer, code=29)
    assert used_epochs(computer) == {1, 2}
    computer.run("unlock", computer.place, *by_code(computer))
    computer.run("rotate", "throttle", computer.place, "--duty", 1)
    wait_for_rotation(computer, "done")
    assert not {"vmk-1", "vmk-2"} & set(scan(pid, secrets)), "the volume keys are wiped at the end"
    computer.run("unmount", computer.place)
    assert used_epochs(computer) == {2}
    assert header_epochs(computer)["files"] == 2


@pytest.mark.anyone
def test_the_phone_authorises_it_and_its_absence_stops_it(computer: Computer) -> None:
    computer.start_phone()
    fill(computer, MANY)
    computer.mount("--grace", 1)
    computer.run("rotate", "master", computer.vault, "--phone", "other", *SLOWLY, code=29)
    computer.run("rotate", "master", computer.vault, *SLOWLY)
    wait_until(lambda: bool(rotation(computer).get("wrapped")))
    computer.run("rotate", "throttle", computer.place, "--duty", 0.001)
    computer.stop_phone()
    computer.wait_for("locked")
    assert rotation(computer)["state"] == "waiting"
    computer.start_phone()
    computer.wait_for("unlocked")
    computer.run("rotate", "throttle", computer.place, "--duty", 1)
    wait_for_rotation(computer, "done")
    assert computer.status()["phone_in_range"]
    computer.run("unmount", computer.place)
    assert used_epochs(computer) == {2}


@pytest.mark.anyone
def test_what_does_not_open_the_vault_begins_nothing(computer: Computer) -> None:
    fill(computer, 5)
    computer.mount(*by_code(computer))
    other = computer.root / "other"
    other.write_text("orbit velvet ladder mango")
    computer.run("rotate", "master", computer.vault, "--passphrase-file", other, code=14)
    assert header_epochs(computer)["current"] == 1
    assert computer.status()["state"] == "unlocked" and rotation(computer) is None
    computer.run("unmount", computer.place)


@pytest.mark.parametrize("option", ["--read-only", "--shared"])
@pytest.mark.anyone
def test_not_in_a_mount_that_cannot(computer: Computer, option: str) -> None:
    fill(computer, MANY)
    computer.mount(*by_code(computer))
    rotate_to_the_middle(computer)
    computer.run("unmount", computer.place)
    told = computer.run("mount", computer.vault, computer.place, option, *by_code(computer)).stderr
    assert "waits for a mount without" in told
    assert rotation(computer)["state"] == "waiting"
    assert option in rotation(computer)["message"]
    rotate(computer, code=32)
    computer.run("rotate", "pause", computer.vault, code=32)
    assert (computer.place / "link").read_bytes() == random.Random(1).randbytes(37)
    computer.run("unmount", computer.place)
    assert "not mounted" in computer.run("rotate", "status", computer.vault).stdout
    told = computer.run("mount", computer.vault, computer.place, *by_code(computer)).stderr
    assert "goes on in the background" in told
    wait_for_rotation(computer, "done")
    computer.run("unmount", computer.place)
    assert used_epochs(computer) == {2}


@pytest.mark.anyone
def test_ctrl_c_leaves_it_running(computer: Computer) -> None:
    fill(computer, MANY)
    computer.mount(*by_code(computer))
    child = computer.start("rotate", "master", computer.vault, "--duty", 0.001, *by_code(computer))
    wait_until(lambda: (rotation(computer) or {}).get("state") == "running")
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    said, _ = child.communicate()
    assert child.returncode == 130, said
    assert "goes on in the background" in said
    assert rotation(computer)["state"] == "running"
    again = computer.start("rotate", "master", computer.place, "--duty", 1, *by_code(computer))
    said, _ = again.communicate()
    assert again.returncode == 0 and "going on already" in said and "volume key 2, " in said
    computer.run("unmount", computer.place)
    assert used_epochs(computer) == {2}


@pytest.mark.anyone
def test_slots_are_shown_and_asked_about_on_a_terminal(computer: Computer) -> None:
    fill(computer, 5)
    computer.mount(*by_code(computer))
    argv = computer.command("phonevault.cli.main", "rotate", "master", computer.vault, *by_code(computer))
    with OnTerminal(argv, computer.environment) as screen:
        screen.wait_for(r"slot 1 \(recovery: recovery code\)")
        screen.wait_for("Is each of them wanted")
        screen.answer("n")
        assert screen.wait() == 3
    assert header_epochs(computer)["current"] == 1
    with OnTerminal(argv, computer.environment) as screen:
        screen.wait_for("Is each of them wanted")
        screen.answer("y")
        assert screen.wait() == 0, screen.screen
    with OnTerminal([*argv, "--yes"], computer.environment) as screen:
        assert screen.wait() == 0, screen.screen
    assert header_epochs(computer)["current"] == 3
    computer.run("unmount", computer.place)


def damaged(computer: Computer) -> tuple[Path, bytes]:
    """Damages the header of one file; returns it and what it was."""
    victim = next(p for p in (computer.vault / "tree").rglob("*") if p.is_file() and p.stat().st_size > 1000)
    raw = victim.read_bytes()
    victim.write_bytes(raw[:60] + bytes([raw[60] ^ 1]) + raw[61:])
    return victim, raw


@pytest.mark.anyone
def test_a_damaged_file_keeps_the_older_key_and_is_told(computer: Computer) -> None:
    fill(computer, 10)
    victim, raw = damaged(computer)
    computer.mount(*by_code(computer))
    assert "1 damaged file" in rotate(computer, code=31)
    assert rotation(computer)["state"] == "incomplete"
    computer.run("lock", computer.place)
    computer.run("unlock", computer.place, *by_code(computer))
    assert rotation(computer)["state"] == "incomplete"
    victim.write_bytes(raw)
    assert "volume key 2, " in rotate(computer)
    computer.run("unmount", computer.place)
    assert used_epochs(computer) == {2}


@pytest.mark.anyone
def test_slots_may_change_meanwhile(computer: Computer) -> None:
    fill(computer, MANY)
    computer.mount(*by_code(computer))
    rotate_to_the_middle(computer)
    passphrase: Path = computer.root / "pass"
    passphrase.write_text("orbit velvet ladder mango")
    computer.run("slot", "add", computer.vault, "--new-passphrase-file", passphrase, *by_code(computer))
    computer.run("rotate", "slot", computer.vault, 1, *by_code(computer))
    computer.run("rotate", "throttle", computer.place, "--duty", 1)
    wait_for_rotation(computer, "done")
    computer.run("unmount", computer.place)
    assert header_epochs(computer)["live"] == [1, 2]
    computer.run("slot", "test", computer.vault, "--passphrase-file", passphrase)
    computer.run("slot", "test", computer.vault, *by_code(computer))


KILLED = str(Path(__file__).parents[1] / "support" / "killed_command.py")


def serve_killed_at(computer: Computer, number: int, when: str) -> tuple[int, Users, str]:
    """Mounts, rotates under users at work, and is killed at one of the rotation's changes of the disk; 0: is not."""
    argv = [
        "env",
        "COUNTED_THREAD=rotation",
        sys.executable,
        KILLED,
        str(number),
        when,
        "mount",
        "--foreground",
    ]
    daemon = computer.spawn([*argv, *map(str, (computer.vault, computer.place, *by_code(computer)))])
    users = Users(computer.place)
    wait_until(lambda: daemon.poll() is not None or os.path.ismount(computer.place))
    if daemon.poll() is None:
        with users.at_work():
            computer.start("rotate", "master", computer.vault, *by_code(computer)).communicate()
        if number == 0:
            assert not users.problems
            users.check()
            computer.run("unmount", computer.place)
        else:
            computer.start("unmount", computer.place).communicate()
    said, _ = daemon.communicate()
    return daemon.returncode, users, said


def survives_kills_at(computer: Computer, chosen: Callable[[int], Sequence[int]]) -> None:
    fill(computer, 60)
    before = view(computer)
    code, users, said = serve_killed_at(computer, 0, "")
    assert code == 0, said
    changes = int(said.rpartition("changes: ")[2])
    for number in chosen(changes):
        code, users, said = serve_killed_at(computer, number, random.choice(("before", "after")))
        if code == 0:  # it ended before it came so far
            continue
        assert code == -signal.SIGKILL, said
        computer.mount(*by_code(computer))
        users.check()
        if rotation(computer) is not None:
            wait_for_rotation(computer, "done")
        computer.run("unmount", computer.place)
        ended = header_epochs(computer)
        assert ended["files"] == ended["current"] and ended["live"] == sorted({1, ended["current"]})
        assert used_epochs(computer) <= {ended["current"]}
        now = view(computer)
        assert {name: now[name][:3] for name in before} == {name: seen[:3] for name, seen in before.items()}
        assert all(now[name][5] == seen[5] for name, seen in before.items())
        computer.run("check", computer.vault, *by_code(computer))


@pytest.mark.anyone
def test_a_daemon_killed_in_the_middle_loses_nothing_and_the_next_mount_goes_on(computer: Computer) -> None:
    survives_kills_at(computer, lambda changes: random.sample(range(1, changes), 3))


@pytest.mark.slow
@pytest.mark.anyone
def test_a_daemon_killed_at_many_changes_of_the_disk(computer: Computer) -> None:
    survives_kills_at(computer, lambda changes: range(1, changes, max(1, changes // 60)))


@pytest.mark.anyone
def test_killed_while_it_rests(computer: Computer) -> None:
    fill(computer, MANY)
    computer.mount(*by_code(computer))
    rotate_to_the_middle(computer)
    os.kill(computer.status()["pid"], signal.SIGKILL)
    wait_until(lambda: computer.status()["state"] == "dead")
    assert header_epochs(computer) == {"current": 2, "files": 1, "live": [1, 2], "names": 1}
    told: Any = computer.run("mount", computer.vault, computer.place, *by_code(computer)).stderr
    assert "goes on in the background" in told
    wait_for_rotation(computer, "done")
    computer.run("unmount", computer.place)
    assert used_epochs(computer) == {2}
