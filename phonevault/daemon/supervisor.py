"""The one thread that decides and acts: takes events, asks the state machine, carries out its actions.

Everybody else (link thread, control connections, signal handlers) only posts into its queue. What a caller
wants to hear back comes through a `Reply`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from phonevault.daemon import state
from phonevault.daemon.clock import SuspendWatch, boottime_s
from phonevault.daemon.log import log
from phonevault.daemon.state import Action, Cause, Policy, State, Status
from phonevault.daemon.volume import LockReport, Wipeable
from phonevault.errors import LockNotVerified, MountBusy, PhonevaultError, UnlockImpossible, describe
from phonevault.fuse.errors import FuseError

TICK_S = 1.0
"""The longest sleep: a suspend is noticed this soon after waking up."""


class Mounted(Protocol):
    """What the supervisor does to the mount: `phonevault.daemon.volume.Volume`."""

    def freeze(self) -> None:
        """New requests wait."""

    def thaw(self) -> None:
        """Waiting requests go on."""

    def lock(self) -> LockReport:
        """Flush, wipe every key, answer ENOKEY."""

    def unlock(self, opened: Any) -> None:
        """Take the keys of an opened vault and serve."""

    def unmount(self, *, lazy: bool = False) -> None:
        """Take the mount away; `MountBusy` if it is in use."""


class Reply:
    """What one caller waits for: a result or an error, once."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._result: dict[str, Any] = {}
        self._error: BaseException | None = None

    def succeed(self, result: dict[str, Any]) -> None:
        """Hand out the result; later calls change nothing."""
        if not self._done.is_set():
            self._result = result
            self._done.set()

    def fail(self, error: BaseException) -> None:
        """Hand out an error; later calls change nothing."""
        if not self._done.is_set():
            self._error = error
            self._done.set()

    def wait(self, timeout_s: float) -> dict[str, Any]:
        """Return the result or raise the error.

        Raises:
            PhonevaultError: No answer within `timeout_s` seconds.
        """
        if not self._done.wait(timeout_s):
            raise PhonevaultError("the mount daemon did not answer in time")
        if self._error is not None:
            raise self._error
        return self._result


@dataclass(frozen=True)
class _Happened:
    """An event, with the keys it brings and the error that made it, if any."""

    event: state.Event
    keys: Wipeable | None = None
    error: BaseException | None = None
    reply: Reply | None = None


@dataclass(frozen=True)
class _UnmountAsked:
    """Take the mount away; `force` locks first and detaches it even if it is busy."""

    force: bool
    reply: Reply | None = None


class _Unmounted:
    """The kernel says that the mount is gone."""


_Message = _Happened | _UnmountAsked | _Unmounted


class Supervisor:
    """Owns the state of one mount.

    Args:
        volume: The mount.
        policy: What the mount was told.
        status: The first state.
        suspend: Tells whether the computer slept.
        clock: CLOCK_BOOTTIME in seconds.
    """

    def __init__(
        self,
        volume: Mounted,
        policy: Policy,
        status: Status,
        suspend: SuspendWatch | None = None,
        clock: Callable[[], float] = boottime_s,
    ) -> None:
        self._volume = volume
        self._policy = policy
        self._status = status
        self._ask_phone: Callable[[int], None] = self._no_phone
        self._suspend = suspend or SuspendWatch()
        self._clock = clock
        self._inbox: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._waiting: list[Reply] = []
        self._report: LockReport | None = None
        self._last_error = ""
        self._ended = False

    def on_question(self, ask_phone: Callable[[int], None]) -> None:
        """Set who fetches the keys from the phone: called with the ticket, must not block."""
        self._ask_phone = ask_phone

    def _no_phone(self, ticket: int) -> None:
        self.keys_failed(UnlockImpossible("no phone is bound to this mount"), refused=True, ticket=ticket)

    # -- for other threads --------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """Where the machine stands (a snapshot; safe from any thread)."""
        return self._status

    @property
    def last_error(self) -> str:
        """Why the last unlock failed, or empty."""
        return self._last_error

    def post(self, event: state.Event) -> None:
        """Report an event."""
        self._inbox.put(_Happened(event))

    def keys_ready(self, keys: Wipeable, *, bound: bool, ticket: int, reply: Reply | None = None) -> None:
        """Hand over opened keys; they are wiped here whatever comes of it."""
        self._inbox.put(_Happened(state.KeyReady(bound, ticket), keys=keys, reply=reply))

    def keys_failed(self, error: BaseException, *, refused: bool, ticket: int) -> None:
        """Report that asking the phone came to nothing."""
        self._inbox.put(_Happened(state.KeyFailed(refused, ticket), error=error))

    def ask_lock(self, cause: Cause) -> Reply:
        """Ask for a lock; the reply is the lock's report."""
        reply = Reply()
        self._inbox.put(_Happened(state.LockAsked(cause), reply=reply))
        return reply

    def ask_unlock(self) -> Reply:
        """Ask for an unlock by the phone."""
        reply = Reply()
        self._inbox.put(_Happened(state.UnlockAsked(), reply=reply))
        return reply

    def ask_unmount(self, *, force: bool = False) -> Reply:
        """Ask for the mount to go; with `force` it is locked, then detached even if it is busy."""
        reply = Reply()
        self._inbox.put(_UnmountAsked(force, reply))
        return reply

    def unmounted(self) -> None:
        """Report that the kernel has let go of the mount."""
        self._inbox.put(_Unmounted())

    # -- the thread ---------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the mount is gone; afterwards no keys are left."""
        while not self._ended:
            message = self._next()
            if self._suspend.slept():
                self._take(_Happened(state.LockAsked(Cause.SUSPEND)))
            if isinstance(message, _Happened):
                self._take(message)
            elif isinstance(message, _UnmountAsked):
                self._unmount(message)
            else:
                self._ended = True
        self._end()

    def _next(self) -> _Message:
        wakeup_s = state.next_wakeup_s(self._policy, self._status)
        pause_s = TICK_S if wakeup_s is None else min(TICK_S, max(0.0, wakeup_s - self._clock()))
        try:
            return self._inbox.get(timeout=pause_s)
        except queue.Empty:
            return _Happened(state.Tick())

    def _take(self, message: _Happened) -> None:
        before = self._status
        if isinstance(message.event, state.LockAsked):
            self._answer_waiting_for_unlock(message.event)
        elif isinstance(message.event, state.KeyFailed) and message.event.ticket == before.ticket:
            self._unlock_failed(message.error)
        status, actions = state.step(self._policy, before, message.event, self._clock())
        self._status = status
        for action in actions:
            self._act(action, message)
        if message.keys is not None:
            message.keys.wipe()
        if self._status.state is not before.state:
            self._tell(before)
        self._answer(message)

    def _act(self, action: Action, message: _Happened) -> None:
        match action:
            case Action.FREEZE:
                self._volume.freeze()
            case Action.THAW:
                self._volume.thaw()
                self._unlocked()
            case Action.LOCK:
                self._report = self._volume.lock()
                if not self._report.verified:
                    log("the lock could not be verified: a request still holds on")
                for holder in self._report.holders:
                    log(f"{holder.command} ({holder.pid}) has files open in it")
            case Action.UNLOCK:
                self._unlock(message)
            case Action.ASK_PHONE:
                self._ask_phone(self._status.ticket)
            case Action.DISCARD:
                if message.reply is not None:
                    message.reply.fail(UnlockImpossible("not locked any more, or locked again meanwhile"))

    def _unlock(self, message: _Happened) -> None:
        opened = False
        try:
            self._volume.unlock(message.keys)
            opened = True
        except (PhonevaultError, OSError) as error:
            self._unlock_failed(error)
            if message.reply is not None:
                message.reply.fail(error)
        finally:
            if not opened:  # a bug included: the machine must not say "unlocked"
                self._status, _ = state.step(
                    self._policy, self._status, state.LockAsked(Cause.REFUSED), self._clock()
                )
                self._report = self._volume.lock()
        if opened:
            self._last_error = ""
            self._unlocked()

    def _unlocked(self) -> None:
        waiting, self._waiting = self._waiting, []
        for reply in waiting:
            reply.succeed({"state": self._status.state.value})

    def _unlock_failed(self, error: BaseException | None) -> None:
        report = describe(error) if error is not None else None
        before, self._last_error = (
            self._last_error,
            report.message if report is not None else "unlocking failed",
        )
        if self._last_error != before:  # a header that is away fails with every sign of life
            log(f"unlocking failed: {self._last_error}")
        waiting, self._waiting = self._waiting, []
        for reply in waiting:
            reply.fail(error or UnlockImpossible(self._last_error))

    def _answer_waiting_for_unlock(self, event: state.LockAsked) -> None:
        """Somebody locks on purpose: those who wait for an unlock have lost."""
        waiting, self._waiting = self._waiting, []
        for reply in waiting:
            reply.fail(UnlockImpossible(f"not unlocked: {event.cause.value} meanwhile"))

    def _answer(self, message: _Happened) -> None:
        reply, status = message.reply, self._status
        if reply is None:
            # A frozen mount whose phone did not come back: who asked for an unlock is still waiting.
            if status.state is State.LOCKED and self._waiting and not status.asking:
                self._take(_Happened(state.UnlockAsked()))
            return
        if isinstance(message.event, state.LockAsked):
            self._answer_lock(reply)
        elif status.state is State.UNLOCKED:
            reply.succeed({"state": status.state.value})
        elif isinstance(message.event, state.UnlockAsked):
            self._waiting.append(reply)

    def _answer_lock(self, reply: Reply) -> None:
        report = self._report
        if report is None:
            reply.succeed({"state": self._status.state.value})
        elif not report.verified:
            reply.fail(LockNotVerified("locked, but a request of the file system could not be ended"))
        else:
            reply.succeed({"state": self._status.state.value, **report.as_json()})

    def _tell(self, before: Status) -> None:
        cause = f" ({self._status.cause.value})" if self._status.cause is not None else ""
        log(f"{before.state.value} -> {self._status.state.value}{cause}")

    # -- the end ------------------------------------------------------------------------------------------

    def _unmount(self, message: _UnmountAsked) -> None:
        reply = message.reply or Reply()
        if self._status.state is State.FROZEN or message.force:
            # Unmounting a frozen mount would wait for its own dirty data; a lock brings it home first.
            self._take(_Happened(state.LockAsked(Cause.USER)))
        try:
            self._take_away(message.force)
        except (PhonevaultError, FuseError, OSError) as error:
            reply.fail(error)
            log(f"not unmounted: {error}")
            self._ended = message.force
            return
        self._ended = True
        reply.succeed({"state": "unmounted"})

    def _take_away(self, force: bool) -> None:
        try:
            self._volume.unmount()
        except MountBusy:
            if not force:
                raise
            self._volume.unmount(lazy=True)

    def _end(self) -> None:
        """The mount is gone: lock, so that the keys are wiped, whatever state it was in."""
        if self._status.state is not State.LOCKED:
            self._status, _ = state.step(
                self._policy, self._status, state.LockAsked(Cause.USER), self._clock()
            )
            self._volume.lock()
        self._status = replace(self._status, state=State.LOCKED)
        while True:
            try:
                message = self._inbox.get_nowait()
            except queue.Empty:
                break
            if isinstance(message, _Happened) and message.keys is not None:
                message.keys.wipe()
            reply = getattr(message, "reply", None)
            if reply is not None:
                reply.fail(UnlockImpossible("the mount is gone"))
        for reply in self._waiting:
            reply.fail(UnlockImpossible("the mount is gone"))
