"""A computer and a phone for tests of the commands: private homes, the real programs, everything ended at the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PHONE = "phone_link.phone.cli"
COMPUTER = "phonevault.cli.main"
QUICK = "support.quick_phonevault"
"""The same program, but for what a new passphrase costs."""
WAIT_S = 30


class Computer:
    """Runs `phonevault` with a home of its own, and a phone beside it at a unix socket."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.vault = root / "vault"
        self.place = root / "place"
        self.code_file = root / "code"
        self.store = root / "phone"
        self.pin_file = root / "pin"
        # The name of a socket is limited to 107 bytes, and a test's directory may be longer than that.
        self.short = Path(tempfile.mkdtemp(prefix="pv"))
        self.spec = f"unix:{self.short}/sock"
        self.phone: subprocess.Popen[str] | None = None
        self.children: list[subprocess.Popen[Any]] = []
        self.measures_passphrases = False
        self.place.mkdir(exist_ok=True)

    @property
    def listen_spec(self) -> str:
        """Where the phone listens."""
        return self.spec

    @property
    def environment(self) -> dict[str, str]:
        home = str(self.root / "home")
        own = {"HOME": home, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "LC_ALL": "C.UTF-8"}
        own |= {f"XDG_{name}_HOME": f"{home}/{name.lower()}" for name in ("CONFIG", "STATE")}
        return {**os.environ, **own, "XDG_RUNTIME_DIR": f"{home}/run"}

    def command(self, module: str, *arguments: object) -> list[str]:
        if module == COMPUTER and not self.measures_passphrases:
            module = QUICK
        return [sys.executable, "-m", module, *map(str, arguments)]

    def run(self, *arguments: object, code: int = 0, **more: Any) -> subprocess.CompletedProcess[str]:
        """Runs `phonevault`; the exit code must be as expected, and no traceback is ever shown."""
        return self._run(COMPUTER, arguments, code, more)

    def run_phone(self, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs `phonevault-phone`."""
        return self._run(PHONE, arguments, code, {})

    def _run(
        self, module: str, arguments: tuple[object, ...], code: int, more: dict[str, Any]
    ) -> subprocess.CompletedProcess[str]:
        more = {"env": self.environment, "stdin": subprocess.DEVNULL if "input" not in more else None} | more
        result = subprocess.run(
            self.command(module, *arguments), capture_output=True, text=True, timeout=60, check=False, **more
        )
        assert "Traceback" not in result.stderr, result.stderr
        assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
        if code not in (0, 71):  # 71: all problems repaired, which is no error
            assert result.stderr.splitlines()[-1].startswith(("error: ", "hint: ")), result.stderr
        return result

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Starts `phonevault` beside the test."""
        return self.spawn(self.command(COMPUTER, *arguments))

    def spawn(self, argv: list[str]) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            argv,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.children.append(child)
        return child

    # -- the phone ----------------------------------------------------------------------------------------

    def make_phone(self) -> None:
        self.pin_file.touch(mode=0o600)
        self.pin_file.write_text("271828\n")
        puk = self.root / "puk"
        self.run_phone("init", self.store, "--pin-file", self.pin_file, "--puk-file", puk, "--bits", 2048)

    def start_phone(self, *options: str) -> None:
        """Serves until `stop_phone`; returns when it listens."""
        options = options or ("--approve", "auto")
        argv = ("serve", self.store, "--listen", self.listen_spec, "--pin-file", self.pin_file, *options)
        self.phone = self.spawn(self.command(PHONE, *argv))
        assert self.phone.stdout is not None
        for line in self.phone.stdout:
            if line.startswith("ready:"):
                return
        raise AssertionError("the phone did not start")

    def stop_phone(self, number: int = signal.SIGKILL) -> None:
        assert self.phone is not None
        self.phone.send_signal(number)
        self.phone.communicate()
        self.phone = None

    def pair(self) -> None:
        self.run("phone", "pair", self.spec, "--name", "pocket", "--yes")

    # -- the mount ----------------------------------------------------------------------------------------

    def create(self) -> None:
        self.run("create", self.vault, "--recovery-file", self.code_file)

    def mount(self, *options: object) -> None:
        self.run("mount", self.vault, self.place, *options)

    def status(self) -> dict[str, Any]:
        """What `status --json` says of the test's mount."""
        listed: list[dict[str, Any]] = json.loads(self.run("status", "--json").stdout)
        return next(mount for mount in listed if mount["mountpoint"] == str(self.place))

    def wait_for(self, state: str) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def reached() -> bool:
            found.update(self.status())
            return bool(found["state"] == state)

        wait_until(reached)
        return found

    def close(self) -> None:
        """Ends everything, whatever a failed test left."""
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            if (place := line.split(" ")[4]).startswith(str(self.root)):
                subprocess.run(["fusermount3", "-u", "-z", place], check=False, capture_output=True)
        for child in self.children:
            if child.returncode is None:
                child.kill()
                child.communicate()
        shutil.rmtree(self.short)


def wait_until(condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether a process lives (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def snapshot(directory: Path) -> dict[str, bytes | None]:
    """Every path below a directory with its contents."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
    }
