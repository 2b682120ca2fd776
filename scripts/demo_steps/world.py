"""The demo's private world: a directory with a computer's home, a phone's store and a radio."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from demo_steps.programs import Outcome, Program, run
from demo_steps.report import Report

MARKER = "PHONEVAULT_DEMO"


class World:
    """Directories, environment and running programs of one demo. Use `with`: leaving it ends all of them."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.root = Path(tempfile.mkdtemp(prefix="phonevault-demo-"))
        self.vault = self.root / "vault"
        self.mountpoint = self.root / "private"
        self.original = self.root / "original"
        self.phone_store = self.root / "phone"
        self.pin_file = self.root / "pin"
        self.recovery_file = self.root / "recovery-code"
        self.radio_dir = self.root / "radio"
        self._marker = uuid.uuid4().hex
        self._programs: list[Program] = []
        for directory in (self.mountpoint, self.radio_dir, *self._homes().values()):
            directory.mkdir(mode=0o700, parents=True)

    def _homes(self) -> dict[str, Path]:
        home = self.root / "home"
        return {
            "HOME": home,
            "XDG_CONFIG_HOME": home / "config",
            "XDG_STATE_HOME": home / "state",
            "XDG_RUNTIME_DIR": home / "run",
        }

    @property
    def environment(self) -> Mapping[str, str]:
        """For every program of the demo: nothing of the user's own settings, and a mark to find them by."""
        homes = {name: str(path) for name, path in self._homes().items()}
        return {**os.environ, **homes, "LC_ALL": "C.UTF-8", MARKER: self._marker}

    def run(self, *argv: object, timeout_s: float = 60, quiet: bool = False) -> Outcome:
        """Shows a command, runs it, returns its outcome."""
        words = [str(word) for word in argv]
        if not quiet:
            self.report.command(self.shorten(shlex.join(words)))
        return run(words, self.environment, timeout_s)

    def start(self, name: str, *argv: object, quiet: bool = False) -> Program:
        """Shows a command and starts it beside the demo."""
        words = [str(word) for word in argv]
        if not quiet:
            self.report.command(self.shorten(shlex.join(words)) + " &")
        program = Program(name, words, self.environment)
        self._programs.append(program)
        return program

    def shorten(self, text: str) -> str:
        """Leaves out the long name of the demo's directory."""
        return text.replace(f"{self.root}/", "")

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmounts what is mounted, ends what runs, removes the directory. Another Ctrl-C does not stop it."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._close()
        finally:
            signal.signal(signal.SIGINT, before)

    def _close(self) -> None:
        for mountpoint in self.mounts():
            subprocess.run(["fusermount3", "-u", "-z", str(mountpoint)], check=False, capture_output=True)
        for program in reversed(self._programs):
            program.stop()
        for pid in self.processes():
            _kill(pid)
        if not self.mounts():
            shutil.rmtree(self.root, ignore_errors=True)

    def stop_programs(self) -> None:
        """Ends the programs started with `start`."""
        while self._programs:
            self._programs.pop().stop()

    def mounts(self) -> list[Path]:
        """Mount points below the demo's directory."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        points = (Path(line.split(" ")[4]) for line in lines)
        return [point for point in points if point.is_relative_to(self.root)]

    def processes(self, patience_s: float = 0.0) -> list[int]:
        """Living processes of this demo other than itself, after waiting `patience_s` for their end."""
        deadline = time.monotonic() + patience_s
        while (found := self._processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def _processes(self) -> list[int]:
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in pids if pid != os.getpid() and self._is_ours(Path(f"/proc/{pid}"))]

    def _is_ours(self, process: Path) -> bool:
        """By our mark, or, as a mount daemon hides its environment from ordinary users, by our directory's name."""
        try:
            if os.fsencode(self.root) in (process / "cmdline").read_bytes():
                return True
            return f"{MARKER}={self._marker}".encode() in (process / "environ").read_bytes().split(b"\0")
        except OSError:  # ended meanwhile, or another user's
            return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def describe(pids: Sequence[int]) -> str:
    """Command lines of processes, for a message."""
    lines = []
    for pid in pids:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        lines.append(f"{pid} {b' '.join(words).decode(errors='replace').strip()}")
    return "; ".join(lines)
