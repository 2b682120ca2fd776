"""A vault made only to be measured: beside the user's, mounted by a child process, gone at the end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from phonevault import vault as vaults
from phonevault.errors import NotMeasurable, describe

PREFIX = ".phonevault-speed-"
MOST_STREAM_BYTES = 64 << 20
LEAST_STREAM_BYTES = 4 << 20
_SHARE_OF_FREE = 8
"""The large files (one in the folder, one beside it) and the small ones take at most a fourth of what is free."""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Trial:
    """Where to measure.

    Attributes:
        plain: An empty directory on the vault's file system, not encrypted.
        folder: The mounted trial vault, empty.
        ciphertext: The trial vault's tree.
        stream_bytes: How large one file may get.
    """

    plain: Path
    folder: Path
    ciphertext: Path
    stream_bytes: int


def stream_bytes(free_bytes: int) -> int:
    """Return how large the large file may be, whole MiB.

    Raises:
        NotMeasurable: There is too little room.
    """
    share = min(MOST_STREAM_BYTES, free_bytes // _SHARE_OF_FREE >> 20 << 20)
    if share < LEAST_STREAM_BYTES:
        raise NotMeasurable(
            f"only {free_bytes >> 20} MiB are free there, {LEAST_STREAM_BYTES * _SHARE_OF_FREE >> 20} are needed"
        )
    return share


@contextlib.contextmanager
def trial_vault(vault: Path, cipher: str, block_size: int) -> Iterator[Trial]:
    """Make, mount, and afterwards remove a vault beside `vault` with the same cipher and block size.

    Raises:
        NotMeasurable: No directory can be made on the vault's file system, there is too little room, or it cannot be
            mounted.
    """
    home = _home(vault)
    try:
        size = stream_bytes(_free_bytes(home))
        for name in ("plain", "folder", "run"):
            (home / name).mkdir(mode=0o700)
        made = vaults.create(
            home / "vault", cipher=cipher, slots=[vaults.RecoverySlotRequest()], block_size=block_size
        )
        try:
            child = _Child(home, bytearray(made.recovery_code or "", "ascii"))
        finally:
            made.wipe()
        try:
            child.wait_ready()
            yield Trial(home / "plain", home / "folder", home / "vault" / "tree", size)
        finally:
            child.end()
    finally:
        shutil.rmtree(home)


def _home(vault: Path) -> Path:
    """A new directory beside the vault; inside of a vault that is a mount point of its own nothing is written."""
    beside = vault.parent
    if os.stat(beside).st_dev != os.stat(vault).st_dev:
        raise NotMeasurable(
            f"{vault} is a file system of its own: there is no place beside it on the same one"
        )
    try:
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=beside))
    except OSError as error:
        raise NotMeasurable(f"nothing can be made in {beside}: {error.strerror}") from None


def _free_bytes(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


class _Child:
    """The process that mounts. It unmounts and cleans up as well if its parent is killed."""

    def __init__(self, home: Path, code: bytearray) -> None:
        self._reader, writer = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _serve(home, code, writer, parent)
        os.close(writer)
        code[:] = bytes(len(code))

    def wait_ready(self) -> None:
        """Return when the folder is usable.

        Raises:
            NotMeasurable: It will not be; with the reason.
        """
        text = b""
        while not text.endswith(b"\n") and (piece := os.read(self._reader, 4096)):
            text += piece
        if text != b"ready\n":
            raise NotMeasurable(f"the trial vault cannot be mounted: {text.decode(errors='replace').strip()}")

    def end(self) -> None:
        """Unmount and wait for the child."""
        os.close(self._reader)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)
        os.waitpid(self._pid, 0)


def _serve(home: Path, code: bytearray, writer: int, parent: int) -> NoReturn:
    """Mount and serve in the child until it is unmounted or told to end."""
    status = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() == parent:
            _mount(home, code, writer)
            status = 0
    except BaseException as error:  # noqa: BLE001 - this process ends here; the parent is told
        report = describe(error)
        os.write(writer, f"{report.message if report else repr(error)}\n".encode())
    finally:
        if os.getppid() != parent:
            shutil.rmtree(home, ignore_errors=True)
        os._exit(status)


def _mount(home: Path, code: bytearray, writer: int) -> None:
    from keyslots.place import Place
    from phonevault.daemon.serve import MountPlan, mount_and_serve
    from phonevault.daemon.state import Policy
    from phonevault.daemon.ways import SecretWay

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the daemon's log
    os.environ["XDG_RUNTIME_DIR"] = str(home / "run")  # the user's `status` does not show it
    plan = MountPlan(Place(home / "vault"), home / "folder", Policy(grace_s=10, auto_unlock=False))
    ready, warn = (lambda: os.write(writer, b"ready\n")), (lambda _text: None)
    mount_and_serve(plan, SecretWay("recovery", code), ready, warn)  # type: ignore[arg-type]
