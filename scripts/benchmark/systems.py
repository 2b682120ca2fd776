"""The file systems that are compared: each is used through its own command."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path

from demo_steps.programs import resolve


class System(ABC):
    """One encrypted folder. Mounting anew empties the kernel's caches of it."""

    name: str

    def __init__(self, base: Path) -> None:
        self.home = base / self.name
        self.cipher = self.home / "cipher"
        self.mountpoint = self.home / "plain"
        self.secret = self.home / "secret"
        self.mountpoint.mkdir(parents=True)

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
        """Everything written is on its way to the folder below."""
        self._run("fusermount3", "-u", str(self.mountpoint))

    def remount(self) -> None:
        """Empties the kernel's caches of the folder."""
        self.unmount()
        self.mount()

    @abstractmethod
    def version(self) -> str:
        """One line."""

    def _run(self, *argv: str, text: str | None = None) -> str:
        environment = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(self.home),
            "XDG_CONFIG_HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home),
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

    @classmethod
    def is_installed(cls) -> bool:
        return True

    def create(self) -> None:
        self.home.chmod(0o700)
        self._run("phonevault", "create", str(self.cipher), "--no-phone", "--recovery-file", str(self.secret))

    def mount(self) -> None:
        way = ("--recovery-file", str(self.secret))
        self._run("phonevault", "mount", str(self.cipher), str(self.mountpoint), *way)

    def unmount(self) -> None:
        self._run("phonevault", "unmount", str(self.mountpoint))

    def version(self) -> str:
        return self._run("phonevault", "--version").strip()


class Gocryptfs(System):
    """AES-256-GCM in 4 KiB blocks, Go."""

    name = "gocryptfs"

    def create(self) -> None:
        self.cipher.mkdir()
        self.secret.write_text(secrets.token_hex())
        self._run(
            "gocryptfs", "-q", "-init", "-scryptn", "10", "-passfile", str(self.secret), str(self.cipher)
        )

    def mount(self) -> None:
        self._run("gocryptfs", "-q", "-passfile", str(self.secret), str(self.cipher), str(self.mountpoint))

    def version(self) -> str:
        return self._run("gocryptfs", "-version").split(";")[0].strip()


class Securefs(System):
    """AES-256-GCM in 4 KiB blocks, C++; format 4 (lite) as it makes by default."""

    name = "securefs"

    def create(self) -> None:
        self.cipher.mkdir()
        self.secret.write_text(secrets.token_hex())
        words = ("--keyfile", str(self.secret), "-r", "1", str(self.cipher))
        self._run("securefs", "create", *words)

    def mount(self) -> None:
        words = ("--keyfile", str(self.secret), "-b", str(self.cipher), str(self.mountpoint))
        self._run("securefs", "mount", *words)
        _wait_for_mount(self.mountpoint)

    def version(self) -> str:
        found = subprocess.run(
            ["dpkg-query", "-W", "-f=${Version}", "securefs"], capture_output=True, text=True, check=False
        )
        return f"securefs {found.stdout.strip() or 'of unknown version'}"


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


ALL: tuple[type[System], ...] = (Phonevault, Gocryptfs, Securefs, Plain)


def _wait_for_mount(path: Path, patience_s: float = 10) -> None:
    deadline = time.monotonic() + patience_s
    while not path.is_mount():
        if time.monotonic() > deadline:
            raise SystemExit(f"error: {path} is not mounted after {patience_s:.0f} s")
        time.sleep(0.02)
