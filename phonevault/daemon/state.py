"""The lock state machine: events in, actions out. No I/O, no clock, no threads.

Times are seconds of CLOCK_BOOTTIME, given by the caller, so that time spent in suspend counts.
``docs/state-machine.md`` has the diagram and the table; `tests/daemon/test_state.py` holds the promises.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

DEFAULT_GRACE_S = 10.0
LATE_AFTER_S = 2.5
"""A phone not heard for this long is taken for gone: one heartbeat a second, and 1.5 s for its answer."""


class State(Enum):
    """What the folder is for the programs that use it."""

    UNLOCKED = "unlocked"
    FROZEN = "frozen"
    LOCKED = "locked"


class Cause(Enum):
    """Why the folder is locked; decides whether the return of the phone may open it again."""

    PHONE_AWAY = "the phone is away"
    USER = "locked by the user"
    PHONE = "locked by the phone"
    SUSPEND = "the computer slept"
    REFUSED = "unlocking was refused or failed"
    NO_SLOT = "its phone has no slot any more"

    @property
    def reopens_by_itself(self) -> bool:
        """True if nobody said no: then the phone's return is enough."""
        return self in (Cause.PHONE_AWAY, Cause.SUSPEND)


class Action(Enum):
    """What the supervisor has to do, in this order."""

    FREEZE = "new requests wait"
    THAW = "waiting requests go on"
    LOCK = "flush, wipe every key, answer ENOKEY"
    UNLOCK = "take the key at hand and serve again"
    DISCARD = "wipe the key at hand, it came too late"
    ASK_PHONE = "ask the phone to unwrap the key"


@dataclass(frozen=True)
class PhoneSeen:
    """The phone proved its presence: a heartbeat answered, or a handshake finished, in the secure channel.

    Attributes:
        at_s: When the question was sent that it answered: presence is proven at some time since then.
    """

    at_s: float


@dataclass(frozen=True)
class LinkLost:
    """The transport reported an error, or a heartbeat ran out of time: the fast path to FROZEN."""


@dataclass(frozen=True)
class Tick:
    """Nothing but the passing of time."""


@dataclass(frozen=True)
class LockAsked:
    """Somebody, or a suspend, wants the keys gone now."""

    cause: Cause


@dataclass(frozen=True)
class UnlockAsked:
    """The user asked to unlock with the phone."""


@dataclass(frozen=True)
class KeyReady:
    """The volume key is at hand.

    Attributes:
        bound: True if the phone unwrapped it, so that the phone's absence locks again; False after a
            passphrase or a recovery code.
        ticket: `Status.ticket` when the question was put; a lock since then makes the key unwelcome.
    """

    bound: bool
    ticket: int


@dataclass(frozen=True)
class KeyFailed:
    """The question to the phone came to nothing.

    Attributes:
        refused: True if the phone answered no, or its answer did not open the vault; False if the link broke.
        ticket: `Status.ticket` when the question was put.
    """

    refused: bool
    ticket: int


Event = PhoneSeen | LinkLost | Tick | LockAsked | UnlockAsked | KeyReady | KeyFailed


@dataclass(frozen=True)
class Policy:
    """What the mount was told once.

    Attributes:
        grace_s: Seconds from the phone's last sign of life to the lock; 0 locks as soon as a loss is noticed.
        late_after_s: Seconds without a sign of life after which the folder freezes.
        auto_unlock: Whether the phone's return opens the folder without a command.
    """

    grace_s: float = DEFAULT_GRACE_S
    late_after_s: float = LATE_AFTER_S
    auto_unlock: bool = True


@dataclass(frozen=True)
class Status:
    """Where the machine stands.

    Attributes:
        state: The state.
        bound: The phone unwrapped the key in use, its absence locks.
        link_up: The phone was heard and no loss has been reported since.
        seen_s: The last sign of life.
        deadline_s: In FROZEN, when the lock comes. Set once on entry, never moved.
        cause: In LOCKED, why.
        asking: A question to the phone is under way.
        ticket: Counts the locks, so that an answer to a question older than a lock is known as such.
    """

    state: State
    bound: bool
    link_up: bool
    seen_s: float
    deadline_s: float | None = None
    cause: Cause | None = None
    asking: bool = False
    ticket: int = 0


Step = tuple[Status, tuple[Action, ...]]


def unlocked(bound: bool, now_s: float) -> Status:
    """The state a mount begins in.

    Args:
        bound: Whether a phone unwrapped the key.
        now_s: CLOCK_BOOTTIME, seconds.
    """
    return Status(State.UNLOCKED, bound=bound, link_up=bound, seen_s=now_s)


def step(policy: Policy, status: Status, event: Event, now_s: float) -> Step:
    """Take one event.

    What time alone decides (a late heartbeat, a passed deadline) is decided first: an event that arrives
    after the deadline cannot undo the lock.

    Args:
        policy: What the mount was told.
        status: Where the machine stands.
        event: What happened.
        now_s: CLOCK_BOOTTIME, seconds, not before earlier calls.

    Returns:
        The new status and the actions to take, in order.
    """
    if isinstance(event, PhoneSeen) and status.state is not State.FROZEN:
        # A sign of life that was given in time but handled late is no loss.
        status = replace(status, seen_s=max(status.seen_s, min(event.at_s, now_s)))
    status, timely = _expire(policy, status, now_s)
    status, actions = _react(policy, status, event, now_s)
    return status, timely + actions


def next_wakeup_s(policy: Policy, status: Status) -> float | None:
    """When time alone will next decide something (CLOCK_BOOTTIME, seconds), or None."""
    if status.state is State.FROZEN:
        return status.deadline_s
    if status.state is State.UNLOCKED and status.bound:
        return status.seen_s + policy.late_after_s
    return None


def _expire(policy: Policy, status: Status, now_s: float) -> Step:
    """Do what time alone decides."""
    if status.state is State.UNLOCKED and status.bound and now_s - status.seen_s >= policy.late_after_s:
        return _lose(policy, status, now_s)
    if status.state is State.FROZEN and status.deadline_s is not None and now_s >= status.deadline_s:
        return _lock(status, Cause.PHONE_AWAY)
    return status, ()


def _lose(policy: Policy, status: Status, now_s: float) -> Step:
    """UNLOCKED and the phone is gone: freeze, or lock if the grace is used up."""
    deadline_s = status.seen_s + policy.grace_s
    if policy.grace_s <= 0 or now_s >= deadline_s:
        return _lock(status, Cause.PHONE_AWAY)
    return replace(status, state=State.FROZEN, deadline_s=deadline_s), (Action.FREEZE,)


def _lock(status: Status, cause: Cause) -> Step:
    locked = replace(
        status, state=State.LOCKED, deadline_s=None, cause=cause, asking=False, ticket=status.ticket + 1
    )
    return locked, (Action.LOCK,)


def _react(policy: Policy, status: Status, event: Event, now_s: float) -> Step:
    match event:
        case Tick():
            return status, ()
        case PhoneSeen(at_s):
            return _phone_seen(policy, status, at_s, now_s)
        case LinkLost():
            return _link_lost(policy, replace(status, link_up=False), now_s)
        case LockAsked(cause):
            return _lock_asked(status, cause)
        case UnlockAsked():
            return _unlock_asked(status)
        case KeyReady(bound, ticket):
            return _key_ready(status, bound, ticket, now_s)
        case KeyFailed(refused, ticket):
            return _key_failed(status, refused, ticket)


def _phone_seen(policy: Policy, status: Status, at_s: float, now_s: float) -> Step:
    status = replace(status, link_up=True)
    if status.state is State.FROZEN and now_s - at_s < policy.late_after_s:
        thawed = replace(status, state=State.UNLOCKED, deadline_s=None, seen_s=max(status.seen_s, at_s))
        return thawed, (Action.THAW,)
    if status.state is State.LOCKED and policy.auto_unlock and _reopens(status) and not status.asking:
        return replace(status, asking=True), (Action.ASK_PHONE,)
    return status, ()


def _link_lost(policy: Policy, status: Status, now_s: float) -> Step:
    if status.state is State.UNLOCKED and status.bound:
        return _lose(policy, status, now_s)
    return status, ()


def _lock_asked(status: Status, cause: Cause) -> Step:
    if status.state is not State.LOCKED:
        return _lock(status, cause)
    if cause.reopens_by_itself:
        return status, ()  # a suspend takes nobody's "no" back
    return replace(status, cause=cause, asking=False, ticket=status.ticket + 1), ()


def _unlock_asked(status: Status) -> Step:
    if status.state is State.LOCKED and not status.asking:
        return replace(status, asking=True), (Action.ASK_PHONE,)
    return status, ()


def _key_ready(status: Status, bound: bool, ticket: int, now_s: float) -> Step:
    if status.state is not State.LOCKED or ticket != status.ticket:
        return status, (Action.DISCARD,)
    opened = replace(
        status, state=State.UNLOCKED, bound=bound, cause=None, asking=False, seen_s=max(status.seen_s, now_s)
    )
    return replace(opened, link_up=bound or status.link_up), (Action.UNLOCK,)


def _key_failed(status: Status, refused: bool, ticket: int) -> Step:
    if ticket != status.ticket:
        return status, ()
    cause = Cause.REFUSED if refused and _reopens(status) else status.cause
    return replace(status, asking=False, cause=cause), ()


def _reopens(status: Status) -> bool:
    return status.cause is not None and status.cause.reopens_by_itself
