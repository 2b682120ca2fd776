"""What a rotation in the mount costs those who use the folder: workloads with none, and beside rotations at several duties, in turn."""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rich import box
from rich.table import Table

from benchmark import results
from keyslots.store import load
from phonevault.cli import rotation_in_mount
from phonevault.cli.opening import Ways
from phonevault.daemon import client
from phonevault.daemon.protocol import Request
from phonevault.errors import ReportedError
from phonevault.rotation_kinds import digest_of

PROGRAM = (sys.executable, "-m", "phonevault.cli.main")
SETTINGS: dict[str, float | None] = {"no rotation": None, "duty 0.2": 0.2, "duty 0.5": 0.5, "duty 1": 1.0}
STREAM_BYTES = 64 << 20
SMALL_FILES = 600


class Folder:
    """A vault in a directory of its own, mounted, with a tree of small files whose keys can be rotated."""

    def __init__(self, base: Path, files: int, kind: str) -> None:
        self._kind = kind
        self.vault, self.place, self.code = base / "vault", base / "place", base / "code"
        self.place.mkdir()
        homes = {f"XDG_{name}": str(base / name.lower()) for name in ("CONFIG_HOME", "STATE_HOME")}
        (base / "run").mkdir(mode=0o700)
        os.environ |= {
            **homes,
            "XDG_RUNTIME_DIR": str(base / "run"),
        }  # of this process, too: it asks the daemon itself
        self.run("create", self.vault, "--no-phone", "--single-slot", "--recovery-file", self.code)
        self.run("mount", self.vault, self.place, "--recovery-file", self.code)
        try:
            self._fill(files)
        except BaseException:
            self.close()
            raise

    def _fill(self, files: int) -> None:
        data = os.urandom(1000)
        for number in range(files):
            if number % 500 == 0:
                directory = self.place / f"tree {number}"
                directory.mkdir()
            (directory / f"{number}").write_bytes(data)
        (self.place / "stream").write_bytes(os.urandom(1 << 20) * (STREAM_BYTES >> 20))

    def run(self, *words: object) -> str:
        """A command of phonevault's, which must succeed."""
        argv = [*PROGRAM, *map(str, words)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"error: {' '.join(argv)}: {done.stderr}")
        return done.stdout

    def begin_rotation(self, duty: float) -> None:
        """Have the daemon begin one."""
        ways = Ways(None, None, str(self.code))
        digest = digest_of(load(self.vault).header)
        rotation_in_mount.begin(str(self.place), self._kind, digest, duty, ways)

    def is_rotating(self) -> bool:
        """Whether the daemon is at it."""
        status = client.call(str(self.place), Request("status"))
        return bool(status["rotation"]["state"] == "running")

    def close(self) -> None:
        """Unmount."""
        self.run("unmount", self.place)


class Rotating:
    """Rotations one after another at a duty, for the time of a `with` block."""

    def __init__(self, folder: Folder, duty: float | None) -> None:
        self._folder, self._duty = folder, duty
        self._end = threading.Event()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._again)

    def __enter__(self) -> None:
        if self._duty is not None:
            self._thread.start()
            self._begun.wait()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._duty is not None:
            self._thread.join()

    def _again(self) -> None:
        while not self._end.is_set():
            self._folder.begin_rotation(self._duty or 1.0)
            self._begun.set()
            while self._folder.is_rotating():
                if self._end.wait(0.1):
                    with contextlib.suppress(ReportedError):  # it has just ended
                        rotation_in_mount.change(str(self._folder.place), "throttle", 1.0)


def read_stream(folder: Folder) -> float:
    """MB/s of a file read from its beginning to its end, the kernel's pages of it dropped before."""
    with (folder.place / "stream").open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        began_s = time.perf_counter()
        while file.read(1 << 20):
            pass
        return STREAM_BYTES / 1e6 / (time.perf_counter() - began_s)


def make_files(folder: Folder) -> float:
    """Files of 4 KiB made, written and removed in a second."""
    directory = folder.place / "made"
    directory.mkdir()
    data = os.urandom(4096)
    began_s = time.perf_counter()
    for number in range(SMALL_FILES):
        (directory / f"{number}").write_bytes(data)
    for number in range(SMALL_FILES):
        (directory / f"{number}").unlink()
    seconds = time.perf_counter() - began_s
    directory.rmdir()
    return SMALL_FILES / seconds


WORKLOADS: dict[str, tuple[str, Callable[[Folder], float]]] = {
    "sequential read": ("MB/s", read_stream),
    "make, write, remove": ("files/s", make_files),
}


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints; returns the exit code."""
    found: dict[str, dict[str, list[float]]] = {
        name: {setting: [] for setting in SETTINGS} for name in WORKLOADS
    }
    with tempfile.TemporaryDirectory(dir=arguments.base) as base:
        folder = Folder(Path(base), arguments.files, arguments.kind)
        try:
            for _ in range(arguments.rounds):
                for setting, duty in SETTINGS.items():
                    with Rotating(folder, duty):
                        for name, (_, measure) in WORKLOADS.items():
                            found[name][setting].append(measure(folder))
        finally:
            folder.close()
    _show(found)
    results.write_json(arguments.json, "rotation-mounted", {"files": arguments.files, "rates": found})
    return 0


def _show(found: dict[str, dict[str, list[float]]]) -> None:
    table = Table(box=box.MARKDOWN)
    for column in ("workload", "unit", *SETTINGS):
        table.add_column(column, justify="left" if column in ("workload", "unit") else "right")
    for name, values in found.items():
        none = statistics.median(values["no rotation"])
        cells = [
            f"{none:,.0f}" if setting == "no rotation" else f"{statistics.median(rates) / none:.2f}"
            for setting, rates in values.items()
        ]
        table.add_row(name, WORKLOADS[name][0], *cells)
    results.console().print(table)
