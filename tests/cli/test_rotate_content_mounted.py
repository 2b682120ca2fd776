"""Encrypting everything anew while the folder is in use: real mounts, programs at work, locks and kills in the middle."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from support.computer import Computer, is_running, wait_until
from support.needs import need_fuse
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

pytestmark = pytest.mark.mount

BIG_BYTES = 40 << 20
"""Several steps."""


@pytest.fixture(autouse=True)
def fuse() -> None:
    need_fuse()


def rotate(computer: Computer, *options: object, code: int = 0) -> str:
    """What the command said."""
    done = computer.run("rotate", "content", computer.vault, *options, *by_code(computer), code=code)
    return done.stdout + done.stderr


class Users(Programs):
    """Write and sync, read back, move directories and files, make links and list, all the time."""

    expected = (OSError, AssertionError)
    files = 0
    big = b""

    def work(self) -> Sequence[Callable[[int], None]]:
        return self._write, self._move, self._list, self._patch

    def _write(self, number: int) -> None:
        self.put(number, f"w{number % 30}", random.Random(number).randbytes(number * 731 % 30_000))

    def _move(self, number: int) -> None:
        here, there = self.place / f"m{number % 3}", self.place / f"d{number % 7}" / ("moved" * 40)
        here.mkdir()
        (here / "file").write_bytes(b"%d" % number)
        (here / "link").symlink_to("file" * (1 + number % 900))
        here.rename(there)
        os.link(there / "file", here)
        assert here.read_bytes() == b"%d" % number
        assert os.readlink(there / "link") == "file" * (1 + number % 900)
        for path in (here, there / "file", there / "link"):
            path.unlink()
        there.rmdir()

    def _list(self, number: int) -> None:
        directory = self.place / f"d{number % 7}"
        found = [name for name in os.listdir(directory) if name.startswith("file")]
        assert sorted(found) == sorted(set(found))
        assert len(found) == self.files_in(number % 7), directory

    def _patch(self, number: int) -> None:
        """In the middle of a file that is encrypted anew in several steps."""
        data, at = b"%8d" % number, number * 7_919_777 % (BIG_BYTES - 8)
        fd = os.open(self.place / "big", os.O_RDWR)
        try:
            os.pwrite(fd, data, at)
            assert os.pread(fd, 8, at) == data
            os.pwrite(fd, self.big[at : at + 8], at)
        finally:
            os.close(fd)

    def files_in(self, directory: int) -> int:
        return len(range(directory, self.files, 7))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with super().at_work():
            yield
        if self.problems:
            raise self.problems[0]


def furnish(computer: Computer, files: int) -> tuple[dict[str, object], bytes]:
    """A tree with a large file; how it looks, and that file."""
    fill(computer, files)
    big = random.Random(1).randbytes(BIG_BYTES)
    computer.mount(*by_code(computer))
    (computer.place / "big").write_bytes(big)
    (computer.place / "long link").symlink_to("x/" * 1950)
    os.setxattr(computer.place / "d1", "user.colour", b"red")
    computer.run("unmount", computer.place)
    return view(computer), big


def same(before: dict[str, object], after: dict[str, object]) -> None:
    """What the programs did not touch; of what they used, the contents are checked by them."""
    used = [name for name in before if name == "big" or (name.startswith("d") and "/" not in name)]
    for name in before:
        if name not in used:
            assert after[name] == before[name], name


@pytest.mark.parametrize("cipher", ["aes-256-gcm", "aes-256-xts"])
@pytest.mark.anyone
def test_everything_is_encrypted_anew_under_programs_at_work(computer: Computer, cipher: str) -> None:
    if cipher == "aes-256-xts":
        create_xts(computer)
    before, big = furnish(computer, 300)
    computer.mount(*by_code(computer))
    programs = Users(computer.place)
    programs.files, programs.big = 300, big
    held = (computer.place / "d1" / "file 8").open("r+b")
    gone = (computer.place / "gone").open("w+b")
    gone.write(b"without a name")
    gone.flush()
    (computer.place / "gone").unlink()
    with programs.at_work():
        wait_until(lambda: programs.rounds > 3 or bool(programs.problems))
        said = rotate(computer, "--duty", 0.5)
        at = programs.rounds
        wait_until(lambda: programs.rounds > at + 3 or bool(programs.problems))
    assert "encrypted anew" in said
    assert rotation(computer)["state"] == "done"
    assert header_epochs(computer) == {"current": 2, "files": 2, "live": [2], "names": 2}
    gone.seek(0)
    assert gone.read() == b"without a name"
    assert held.read() == random.Random(8).randbytes(8 * 37)
    held.close()
    gone.close()
    programs.check()
    assert (computer.place / "big").read_bytes() == big
    assert os.readlink(computer.place / "long link") == "x/" * 1950
    assert os.getxattr(computer.place / "d1", "user.colour") == b"red"
    computer.run("unmount", computer.place)
    assert used_epochs(computer) == {2}
    same(before, view(computer))
    computer.run("check", computer.vault, *by_code(computer))


@pytest.mark.anyone
def test_a_lock_in_the_middle_stops_it_and_an_unlock_goes_on(computer: Computer) -> None:
    before, big = furnish(computer, 600)
    computer.mount(*by_code(computer))
    rotate(computer, "--background", "--duty", 0.02)
    wait_until(lambda: bool(rotation(computer).get("bytes_done")))
    held = (computer.place / "big").open("rb")
    assert held.read(1000) == big[:1000]
    computer.run("lock", computer.place)
    assert rotation(computer)["state"] == "waiting"
    computer.run("unlock", computer.place, *by_code(computer))
    assert held.read(1 << 20) == big[1000 : 1000 + (1 << 20)]
    held.close()
    computer.run("rotate", "throttle", computer.place, "--duty", 1)
    wait_for_rotation(computer, "done")
    computer.run("unmount", computer.place)
    assert used_epochs(computer) == {2}
    same(before, view(computer))


def kill_the_mount(computer: Computer) -> None:
    pid = int(computer.status()["pid"])
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid))


@pytest.mark.anyone
def test_a_killed_mount_loses_nothing_and_the_next_one_goes_on(computer: Computer) -> None:
    before, big = furnish(computer, 300)
    for kill in range(4):
        computer.mount(*by_code(computer))
        now = rotation(computer)
        if now is None or now["state"] == "done":  # else the mount goes on by itself
            rotate(computer, "--background", "--duty", 0.3)
        data = random.Random(kill).randbytes(5000)
        with (computer.place / f"kept {kill}").open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        threading.Event().wait(0.05 + 0.2 * kill)
        kill_the_mount(computer)
        computer.run("unmount", computer.place)
        computer.mount(*by_code(computer))
        assert (computer.place / f"kept {kill}").read_bytes() == data
        assert (computer.place / "big").read_bytes() == big
        computer.run("unmount", computer.place)
    computer.mount(*by_code(computer))
    computer.run("rotate", "content", computer.vault, *by_code(computer))
    computer.run("unmount", computer.place)
    assert used_epochs(computer) == {header_epochs(computer)["current"]}
    same(before, view(computer))
    computer.run("check", computer.vault, *by_code(computer))
