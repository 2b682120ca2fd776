"""The rotation of keys in a mount, beside the users of the folder: begun by a command, stopped by a lock, gone on with after an unlock.

Its thread owns every key that only the rotation needs, and wipes them when it ends, whatever ends it. So a lock stops it and waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from keyslots.errors import HeaderBusy, KeyslotsError
from keyslots.header import Header
from keyslots.memory import scrub_stack
from keyslots.secret import Secret
from phonevault.daemon.log import log
from phonevault.daemon.supervisor import Reply
from phonevault.errors import (
    EXIT_OS_ERROR,
    ErrorReport,
    PhonevaultError,
    ReportedError,
    RotationRefused,
    UnlockImpossible,
    describe,
)
from phonevault.newest_header import look
from phonevault.rotation_kinds import Kind, Run, kind_named, kind_under_way

if TYPE_CHECKING:
    from keyslots.place import Place
    from phonevault.fs.filesystem import EncryptedFileSystem
    from phonevault.vault import Mark, OpenedVault

DUTY = 0.5
"""Share of the time that a rotation in a mount works, unless it is told otherwise."""
BUSY_TRIES = 10
BUSY_PAUSE_S = 1.0


class Rotations:
    """The one rotation that a mount may have at a time.

    Args:
        where: says where vault and header are; a header kept apart may be moved while it is mounted.
        filesystem: of the mount.
        refused: why this mount may have none, or "".
    """

    def __init__(
        self, where: Callable[[], Place], filesystem: EncryptedFileSystem, refused: str = ""
    ) -> None:
        self._where = where
        self._filesystem = filesystem
        self._refused = refused
        self._lock = threading.Lock()
        self._open = False
        self._paused = False
        self._duty = DUTY
        self._work: _Work | None = None
        self._heard: Callable[[Mark], object] = lambda mark: None

    # -- for the supervisor ---------------------------------------------------------------------------------

    def opened(self, opened: OpenedVault) -> None:
        """The folder is open: go on with what its header says is under way. The caller wipes ``opened``."""
        kind = kind_under_way(opened.header)
        with self._lock:
            self._open = True
            work = self._work
            if kind is None or (work is not None and (work.alive or work.state == "incomplete")):
                return
            self._work = _Work(self._where, self._filesystem, kind, self._tell)
            if self._refused:
                self._work.message = self._refused
            else:
                self._start(self._work, replace(opened, vmks=_copied(opened.vmks)))

    def on_write(self, tell: Callable[[Mark], object]) -> None:
        """Set who is told of each header that a rotation writes."""
        self._heard = tell

    def _tell(self, mark: Mark) -> None:
        self._heard(mark)

    def stop(self) -> None:
        """The folder is about to be locked."""
        with self._lock:
            self._open = False
            if self._work is not None:
                self._work.stop()

    def wait(self, timeout_s: float) -> bool:
        """Return whether, within so many seconds, it has ended and its keys are wiped."""
        work = self._work
        return work is None or work.join(timeout_s)

    # -- for commands ---------------------------------------------------------------------------------------

    def begin(self, name: str, opened: OpenedVault, duty: float | None) -> Reply:
        """Begin a rotation, or go on with one that had ended before its end.

        Args:
            name: of the kind.
            opened: the vault, proved to be the mounted one; wiped here, whatever comes of it.
            duty: share of the time that is worked; None for what it was.

        Raises:
            RotationRefused: not in this mount, or not now.
            UnlockImpossible: the folder is locked.
        """
        kind = kind_named(name)
        try:
            with self._lock:
                self._check(kind, opened.header)
                self._duty, self._paused = duty or self._duty, False
                self._work = _Work(self._where, self._filesystem, kind, self._tell)
                return self._start(self._work, opened)
        except BaseException:
            opened.wipe()
            raise

    def _check(self, kind: Kind, header: Header) -> None:
        if self._refused:
            raise RotationRefused(self._refused)
        if not self._open:
            raise UnlockImpossible(
                "the folder is locked, or was meanwhile", "unlock it, then give the command again"
            )
        if self._work is not None and self._work.alive:
            raise RotationRefused("a rotation is going on already", "see `phonevault rotate status`")
        other = kind_under_way(header)
        if other is not None and other.name != kind.name:
            raise RotationRefused(
                f"a rotation of another kind is under way: `phonevault rotate {other.name}`"
            )

    def pause(self) -> None:
        """Rest until `resume`, also after a lock and an unlock.

        Raises:
            RotationRefused: none is under way.
        """
        with self._lock:
            work, self._paused = self._under_way(), True
            work.set(self._duty, paused=True)

    def resume(self) -> None:
        """Go on.

        Raises:
            RotationRefused: none is under way.
        """
        with self._lock:
            work, self._paused = self._under_way(), False
            work.set(self._duty, paused=False)

    def throttle(self, duty: float) -> None:
        """Work only this share of the time, above 0, at most 1.

        Raises:
            RotationRefused: none is under way.
        """
        with self._lock:
            work, self._duty = self._under_way(), duty
            work.set(duty, paused=self._paused)

    def status(self) -> dict[str, Any] | None:
        """For `status --json`; None if there was none since the mount."""
        with self._lock:
            work = self._work
            if work is None:
                return None
            state = "paused" if work.state == "running" and self._paused else work.state
            return {
                "kind": work.kind.name,
                "state": state,
                "message": work.message,
                "unit": work.kind.unit,
                "duty": self._duty,
                **work.progress(),
            }

    def _under_way(self) -> _Work:
        work = self._work
        if work is None or work.state not in ("running", "waiting") or self._refused:
            raise RotationRefused("no rotation is under way in this mount")
        return work

    def _start(self, work: _Work, opened: OpenedVault) -> Reply:
        work.set(self._duty, paused=self._paused)
        return work.start(opened)


class _Work:
    """One stretch of a rotation, from an unlock or a command to its end or the next lock.

    Attributes:
        kind: what is rotated.
        state: "waiting" (for an unlock), "running", "done", "incomplete" (damaged files keep it from ending) or "failed".
        message: why, where it is not clear.
    """

    def __init__(
        self,
        where: Callable[[], Place],
        filesystem: EncryptedFileSystem,
        kind: Kind,
        tell: Callable[[Mark], object],
    ) -> None:
        self.kind = kind
        self._tell = tell
        self.state = "waiting"
        self.message = ""
        self._where = where
        self._filesystem = filesystem
        self._stop = threading.Event()
        self._run: Run | None = None
        self._duty, self._paused = DUTY, False
        self._began = Reply()
        self._saved: Header | None = None
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether its thread may hold keys."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, opened: OpenedVault) -> Reply:
        """Begin in a thread of its own, which wipes ``opened``; the reply comes when new files are made the new way."""
        self.state = "running"
        self._thread = threading.Thread(target=self._main, args=(opened,), name="rotation", daemon=True)
        self._thread.start()
        return self._began

    def stop(self) -> None:
        """End soon."""
        self._stop.set()
        if self._run is not None:
            self._run.stop()

    def join(self, timeout_s: float) -> bool:
        """Return whether it has ended."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return not self.alive

    def set(self, duty: float, *, paused: bool) -> None:
        """How it works from now on."""
        self._duty, self._paused = duty, paused
        if self._run is not None:
            self._apply(self._run)

    def progress(self) -> dict[str, Any]:
        """How far it is."""
        empty = {"total": 0, "seen": 0, "damaged": 0, "seconds": 0.0}
        if self._run is None:
            return empty
        now = {**empty, **asdict(self._run.progress)}
        return {
            name: round(value, 3) if isinstance(value, float) else value
            for name, value in now.items()
            if isinstance(value, int | float)
        }

    def _apply(self, run: Run) -> None:
        run.duty = self._duty
        if self._paused:
            run.pause()
        else:
            run.resume()

    # -- the thread -----------------------------------------------------------------------------------------

    def _main(self, opened: OpenedVault) -> None:
        vmks: dict[int, Secret] = {}
        try:
            self.state, self.message = self._outcome(opened, vmks)
        except (OSError, KeyslotsError, PhonevaultError) as error:
            self.state, self.message = "waiting", ""
            if not self._stop.is_set():
                report = describe(error) or ErrorReport(str(error), "", EXIT_OS_ERROR)
                self.state, self.message = "failed", report.message
                self._began.fail(ReportedError(report))  # not the error itself, whose frames hold ciphers
        finally:
            for vmk in (*vmks.values(), *opened.vmks.values()):
                vmk.wipe()
            scrub_stack()
            if self.state == "running":  # a bug; its traceback goes to the log
                self.state, self.message = "failed", "an error of the program, see the log"
            self._began.fail(RotationRefused("the folder was locked meanwhile"))
            log(f"rotation ({self.kind.name}): {self.state} {self.message}".rstrip())

    def _outcome(self, opened: OpenedVault, vmks: dict[int, Secret]) -> tuple[str, str]:
        """Do it; every key that is made on the way is in ``vmks``, for the caller to wipe."""
        if self._filesystem.epoch not in opened.header.epochs.live:
            raise RotationRefused(
                "the header is not the one that was mounted: other volume keys", "unmount, and mount again"
            )
        header, found = self.kind.begin(replace(opened, on_write=self._tell))
        vmks.update(found)
        if self._stop.is_set():
            return "waiting", ""
        self.kind.adopt(self._filesystem, header, vmks)
        run = self.kind.run(self._filesystem, header, self._duty)
        self._run = run
        self._apply(run)
        log(f"rotation ({self.kind.name}): running")
        self._began.succeed({})
        if self._stop.is_set():
            return "waiting", ""
        complete = self._to_the_end(run, header, vmks)
        if self._saved is not None:
            look(self._saved)  # not while requests wait for the end: the record may lie in this folder
        if complete:
            return "done", ""
        if self._stop.is_set():
            return "waiting", ""
        return "incomplete", f"{run.progress.damaged} damaged files still need an older key"

    def _to_the_end(self, run: Run, header: Header, vmks: Mapping[int, Secret]) -> bool:
        """Run; again where another command holds the header at the very end, for so long no request can be kept waiting."""
        for _ in range(BUSY_TRIES):
            try:
                return run.run(lambda: self._finish(header, vmks))
            except HeaderBusy as error:
                log(f"rotation ({self.kind.name}): {error}; trying again")
                if self._stop.wait(BUSY_PAUSE_S):
                    return False
        return run.run(lambda: self._finish(header, vmks))

    def _finish(self, header: Header, vmks: Mapping[int, Secret]) -> None:
        from phonevault.vault import mark_of

        self._saved = self.kind.finish(self._where(), header, vmks)
        self._tell(mark_of(self._saved, vmks))


def _copied(vmks: Mapping[int, Secret]) -> dict[int, Secret]:
    return {epoch: vmk.copy() for epoch, vmk in vmks.items()}
