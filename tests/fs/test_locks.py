"""flock, POSIX and open-file-description locks between processes of one mount."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.mounted_tree import MountedTree, mounted_tree

pytestmark = [pytest.mark.mount, pytest.mark.anyone]

HELPER = """
import fcntl, os, struct, sys
kind, path = sys.argv[1:]
fd = os.open(path, os.O_RDWR)
whole = struct.pack("hhqqi4x", {"write": fcntl.F_WRLCK, "unlock": fcntl.F_UNLCK}["write"], 0, 0, 100, 0)
shared = struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 0, 100, 0)
elsewhere = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 100, 50, 0)
free = struct.pack("hhqqi4x", fcntl.F_UNLCK, 0, 0, 0, 0)
def take(how):
    if kind == "flock":
        flags = {"write": fcntl.LOCK_EX, "read": fcntl.LOCK_SH, "free": fcntl.LOCK_UN, "else": fcntl.LOCK_UN}[how]
        fcntl.flock(fd, flags | fcntl.LOCK_NB)
    else:
        command = fcntl.F_SETLK if kind == "posix" else fcntl.F_OFD_SETLK
        fcntl.fcntl(fd, command, {"write": whole, "read": shared, "free": free, "else": elsewhere}[how])
for line in sys.stdin:
    try:
        take(line.strip())
        print("taken", flush=True)
    except BlockingIOError:
        print("refused", flush=True)
"""


class Locker:
    def __init__(self, kind: str, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HELPER, kind, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def take(self, how: str) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(how, file=self.process.stdin, flush=True)
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[MountedTree]:
    with mounted_tree(tmp_path) as tree:
        yield tree


@pytest.mark.parametrize("kind", ["flock", "posix", "ofd"])
def test_locks_hold_between_processes_and_end_with_them(mount: MountedTree, kind: str) -> None:
    path = mount.path / "f"
    path.write_text("text")
    one, two = Locker(kind, path), Locker(kind, path)
    try:
        assert one.take("write") == "taken"
        assert two.take("write") == "refused"
        assert two.take("read") == "refused"
        assert two.take("else") == "taken"
        assert one.take("free") == "taken"
        assert one.take("read") == "taken"
        assert two.take("read") == "taken"
        assert two.take("write") == "refused"
        mount.tell("lock")
        mount.tell("unlock")
        assert two.take("write") == "refused"
        one.end()
        assert two.take("write") == "taken"
    finally:
        if one.process.returncode is None:
            one.end()
        two.end()
    assert os.listdir(mount.path) == ["f"]
