"""A mounted vault as the supervisor sees it: freeze, thaw, lock, unlock, unmount, each in the right order."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from phonevault.daemon.holders import Holder, holders_of
from phonevault.errors import MountBusy

LOCK_TIMEOUT_S = 5.0
"""How long dirty data may take to reach the disk before the keys go anyway."""


class Wipeable(Protocol):
    """Opened keys: `phonevault.vault.OpenedVault`."""

    def wipe(self) -> None:
        """Wipe all keys."""
        ...


@dataclass(frozen=True)
class LockReport:
    """What a lock came to.

    Attributes:
        verified: No request was using keys any more and the file system holds none.
        seconds: How long it took.
        holders: Processes that have something open in the mount (their handles work again after an unlock).
    """

    verified: bool
    seconds: float
    holders: tuple[Holder, ...]

    def as_json(self) -> dict[str, Any]:
        """The report for the control socket and `--json`."""
        return {
            "verified": self.verified,
            "seconds": round(self.seconds, 3),
            "open_files": [asdict(holder) for holder in self.holders],
        }


class Session(Protocol):
    """What is used of `phonevault.fuse.session.Session`."""

    def freeze(self) -> None:
        """New requests wait."""

    def thaw(self) -> None:
        """Serve them."""

    def lock(self, timeout_s: float) -> bool:
        """Bring dirty data home, then answer ENOKEY; False if a request still uses keys."""

    def unlock(self) -> None:
        """Serve again."""


class FileSystem(Protocol):
    """What is used of `phonevault.fs.filesystem.EncryptedFileSystem`."""

    def lock(self) -> None:
        """Wipe all keys and plaintext."""

    @property
    def locked(self) -> bool:
        """Whether it holds none."""


class Background(Protocol):
    """What works in the mount beside requests, with keys: `phonevault.daemon.rotations.Rotations`."""

    def opened(self, opened: Any) -> None:
        """The folder is open."""

    def stop(self) -> None:
        """End soon: the folder is about to be locked."""

    def wait(self, timeout_s: float) -> bool:
        """Return whether it has ended, its keys wiped, within so many seconds."""


class Nothing:
    """Nothing works beside requests."""

    def opened(self, opened: Any) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def wait(self, timeout_s: float) -> bool:
        """Return at once."""
        del timeout_s
        return True


PASSING_S = 1.0
"""How long a mount may be in use by nobody who can be named: a look in passing, a file that is just being closed."""
GiveKeys = Callable[[Any], None]
"""Gives the file system its keys from an opened vault; the caller wipes the vault's own."""


class Volume:
    """One mount.

    Args:
        mountpoint: Canonical path.
        session: The FUSE session.
        filesystem: The file system.
        give_keys: Unlocks the file system with an opened vault.
        background: What works in it beside requests.
    """

    def __init__(
        self,
        mountpoint: str,
        session: Session,
        filesystem: FileSystem,
        give_keys: GiveKeys,
        background: Background | None = None,
    ) -> None:
        self._mountpoint = mountpoint
        self._session = session
        self._filesystem = filesystem
        self._give_keys = give_keys
        self._background = background or Nothing()

    def freeze(self) -> None:
        """New requests wait."""
        self._session.freeze()

    def thaw(self) -> None:
        """Waiting requests go on."""
        self._session.thaw()

    def lock(self) -> LockReport:
        """Flush, answer ENOKEY from now on, wipe every key; then look whether that is so."""
        began_s = time.monotonic()
        self._background.stop()
        self._session.freeze()
        idle = self._session.lock(LOCK_TIMEOUT_S)
        idle = self._background.wait(LOCK_TIMEOUT_S) and idle
        self._filesystem.lock()
        if not idle:
            # A request outlived the drain, or a rotation its stop (a hung disk). Its keys are wiped under it; it
            # fails, but does not leak.
            idle = self._session.lock(LOCK_TIMEOUT_S)
            idle = self._background.wait(LOCK_TIMEOUT_S) and idle
            self._filesystem.lock()
        verified = idle and self._filesystem.locked
        seconds = time.monotonic() - began_s
        return LockReport(verified, seconds, tuple(holders_of(self._mountpoint)))

    def unlock(self, opened: Any) -> None:
        """Serve again with the keys of an opened vault, which the caller wipes.

        Raises:
            PhonevaultError: The root directory's id does not open under them; nothing is served.
        """
        self._give_keys(opened)
        self._session.unlock()
        self._background.opened(opened)

    def unmount(self, *, lazy: bool = False) -> None:
        """Take the mount away.

        Raises:
            MountBusy: Files are open in it; names the processes.
            FuseError: fusermount3 is missing or refused.
        """
        from phonevault.fuse import errors as fuse_errors
        from phonevault.fuse import mount as fuse_mount

        deadline_s = time.monotonic() + PASSING_S
        while True:
            try:
                return fuse_mount.unmount(Path(self._mountpoint), lazy=lazy)
            except fuse_errors.MountBusy:
                holders = holders_of(self._mountpoint)
                if holders or time.monotonic() >= deadline_s:
                    raise busy_error(self._mountpoint, holders) from None
            time.sleep(0.05)


def busy_error(mountpoint: str, holders: list[Holder]) -> MountBusy:
    """The error for a mount that is in use, naming who uses it."""
    names = ", ".join(f"{holder.command} ({holder.pid})" for holder in holders[:5])
    more = ", …" if len(holders) > 5 else ""
    hint = f"close what is open in it: {names}{more}" if names else "close what is open in it, then try again"
    return MountBusy(f"{mountpoint} is in use", hint)
