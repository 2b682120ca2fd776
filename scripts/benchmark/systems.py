"""The file systems that are compared: each is used through its own command. The peers are in ``peers.py``."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path

from demo_steps.programs import resolve

from benchmark import daemons


class System(ABC):
    """One encrypted folder. Mounting anew empties the kernel's caches of it.

    Attributes:
        cpu_s: processor time of its daemon in what was timed last.
        switches: how often threads of its daemon went to sleep meanwhile.
        timed_s: how long everything took that was timed so far.
        stays: it is not mounted anew: one daemon does all.
        peak_mib: the most memory that its daemon held, over all mounts so far.
    """

    name: str

    def __init__(self, base: Path) -> None:
        self.home = base / self.name
        self.cipher = self.home / "cipher"
        self.mountpoint = self.home / "plain"
        self.secret = self.home / "secret"
        self.mountpoint.mkdir(parents=True)
        self.cpu_s = 0.0
        self.switches = 0
        self.timed_s = 0.0
        self.stays = False
        self.peak_mib = 0.0

    @classmethod
    def is_installed(cls) -> bool:
        """Whether its command is there."""
        return shutil.which(cls.name) is not None

    @abstractmethod
    def create(self) -> None:
        """Makes the empty encrypted folder."""

    @abstractmethod
    def mount(self) -> None:
        """Returns when it is usable."""

    def unmount(self) -> None:
        """Everything written is in the folder below, and the daemon has ended."""
        processes = self.daemons()
        self._note_memory(processes)
        self._take_away()
        daemons.wait_for_end(processes)

    def _take_away(self) -> None:
        self._run("fusermount3", "-u", str(self.mountpoint))

    def remount(self) -> None:
        """Empties the kernel's caches of the folder, unless it stays."""
        if not self.stays:
            self.unmount()
            self.mount()

    @abstractmethod
    def version(self) -> str:
        """One line."""

    def daemons(self) -> list[int]:
        """The processes that serve it."""
        return daemons.serving(self.mountpoint)

    def memory_mib(self) -> float:
        """The most that its daemon has held since :meth:`create`."""
        self._note_memory(self.daemons())
        return self.peak_mib

    def _note_memory(self, processes: list[int]) -> None:
        self.peak_mib = max(self.peak_mib, daemons.peak_mib(processes))

    def _run(self, *argv: str, text: str | None = None) -> str:
        environment = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(self.home),
            "XDG_CONFIG_HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home),
            "CRYFS_FRONTEND": "noninteractive",
            "CRYFS_NO_UPDATE_CHECK": "true",
            "CRYFS_LOCAL_STATE_DIR": str(self.home / "state"),
        }
        done = subprocess.run(
            resolve(argv), env=environment, input=text, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"error: {' '.join(argv)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout


class Phonevault(System):
    """The real commands; a recovery code instead of the phone, which has no part in reads and writes."""

    name = "phonevault"
    options: tuple[str, ...] = ()
    mount_options: tuple[str, ...] = ()

    @classmethod
    def is_installed(cls) -> bool:
        return True

    def create(self) -> None:
        self.home.chmod(0o700)
        words = ("--no-phone", "--single-slot", "--recovery-file", str(self.secret), *self.options)
        self._run("phonevault", "create", str(self.cipher), *words)

    def mount(self) -> None:
        way = ("--recovery-file", str(self.secret))
        self._run("phonevault", "mount", str(self.cipher), str(self.mountpoint), *way, *self.mount_options)

    def _take_away(self) -> None:
        self._run("phonevault", "unmount", str(self.mountpoint))

    def version(self) -> str:
        return " ".join((self._run("phonevault", "--version").strip(), *self.options))


class PhonevaultXts(Phonevault):
    """The same under AES-256-XTS, without integrity."""

    name = "phonevault-xts"
    options = ("--cipher", "aes-256-xts")


class PhonevaultSaving(Phonevault):
    """Processors may sleep between requests, as always in an ordinary user's mount."""

    name = "phonevault-save-power"
    mount_options = ("--save-power",)


class Plain(System):
    """The directory below, not encrypted: what the disk itself gives."""

    name = "plain"

    @classmethod
    def is_installed(cls) -> bool:
        return True

    def create(self) -> None:
        return

    def mount(self) -> None:
        return

    def unmount(self) -> None:
        return

    def version(self) -> str:
        return "plain directory"

    def daemons(self) -> list[int]:
        return []


def package_version(package: str) -> str:
    """Of a Debian package."""
    words = ["dpkg-query", "-W", "-f=${Version}", package]
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    return f"{package} {found.stdout.strip() or 'of unknown version'}"


def wait_for_mount(path: Path, patience_s: float = 10) -> None:
    deadline = time.monotonic() + patience_s
    while not path.is_mount():
        if time.monotonic() > deadline:
            raise SystemExit(f"error: {path} is not mounted after {patience_s:.0f} s")
        time.sleep(0.02)
