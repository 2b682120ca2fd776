"""Finds and ends the mounts and processes that tests left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARKER_NAME = "PHONEVAULT_TEST_SESSION"


@contextmanager
def marked_environment() -> Iterator[str]:
    """Puts a marker of this session into the environment, which all processes started from now on inherit."""
    before = os.environ.get(MARKER_NAME)
    marker = uuid.uuid4().hex
    os.environ[MARKER_NAME] = marker
    try:
        yield marker
    finally:
        if before is None:
            del os.environ[MARKER_NAME]
        else:
            os.environ[MARKER_NAME] = before


def mounts_below(directory: Path) -> list[Path]:
    """Mount points below `directory`, the innermost first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mountpoint = Path(line.split(" ")[4].encode().decode("unicode_escape").encode("latin-1").decode())
        if mountpoint.is_relative_to(directory):
            found.append(mountpoint)
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def end_mounts(directory: Path) -> list[str]:
    """Unmounts everything below `directory`; returns a line for each mount."""
    found = []
    for mountpoint in mounts_below(directory):
        found.append(f"mount {mountpoint}")
        subprocess.run(["fusermount3", "-u", "-z", str(mountpoint)], check=False, capture_output=True)
    return found


def end_processes(marker: str, directory: Path, patience_s: float = 2.0) -> list[str]:
    """Kills every process of the session that lives longer than `patience_s`; returns a line for each.

    A process is known by the marker in its environment, or, as a mount daemon hides that from ordinary users, by
    the session's temporary directory in its command line.
    """
    deadline = time.monotonic() + patience_s  # a daemon whose mount has just gone may be on its way out
    while (left := processes_of(marker, directory)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return [f"process {pid}: {command}" for pid, command in left.items()]


def processes_of(marker: str, directory: Path) -> dict[int, str]:
    """Processes of the session other than this one: pid and command line."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    found = {}
    for pid in pids:
        if pid != os.getpid() and _is_of(pid, marker, directory):
            found[pid] = _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def _is_of(pid: int, marker: str, directory: Path) -> bool:
    if os.fsencode(f"{directory}/") in _read(pid, "cmdline"):
        return True
    return f"{MARKER_NAME}={marker}".encode() in _read(pid, "environ").split(b"\0")


def _read(pid: int, name: str) -> bytes:
    """A file of a process; empty if the process has ended or is another user's."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
