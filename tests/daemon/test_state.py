"""The promises of the lock state machine (docs/state-machine.md), as properties and as stories."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonevault.daemon.state import (
    Action,
    Cause,
    Event,
    KeyFailed,
    KeyReady,
    LinkLost,
    LockAsked,
    PhoneSeen,
    Policy,
    State,
    Status,
    Tick,
    UnlockAsked,
    next_wakeup_s,
    step,
    unlocked,
)

POLICY = Policy(grace_s=10, late_after_s=2.5)
START = unlocked(bound=True, now_s=0.0)


class Story:
    """A machine driven by hand."""

    def __init__(self, policy: Policy = POLICY, status: Status = START) -> None:
        self.policy = policy
        self.status = status
        self.actions: list[Action] = []

    def at(self, now_s: float, event: Event) -> list[Action]:
        self.status, actions = step(self.policy, self.status, event, now_s)
        self.actions += actions
        return list(actions)

    @property
    def state(self) -> State:
        return self.status.state


def test_a_silent_phone_freezes_then_locks() -> None:
    story = Story()
    assert story.at(2.4, Tick()) == []
    assert story.at(2.5, Tick()) == [Action.FREEZE]
    assert story.at(9.9, Tick()) == []
    assert story.at(10.0, Tick()) == [Action.LOCK]
    assert (story.state, story.status.cause) == (State.LOCKED, Cause.PHONE_AWAY)


def test_heartbeats_keep_it_open() -> None:
    story = Story()
    for second in range(1, 100):
        assert story.at(second + 0.1, PhoneSeen(float(second))) == []
    assert story.state is State.UNLOCKED


def test_a_link_error_freezes_at_once() -> None:
    story = Story()
    assert story.at(0.3, LinkLost()) == [Action.FREEZE]
    assert story.status.deadline_s == 10.0  # counted from the last sign of life, not from the error


def test_a_dropout_thaws_without_a_question() -> None:
    story = Story()
    story.at(2.5, Tick())
    assert story.at(5.1, PhoneSeen(5.0)) == [Action.THAW]
    assert story.status == Status(State.UNLOCKED, bound=True, link_up=True, seen_s=5.0)


def test_an_old_sign_of_life_does_not_thaw() -> None:
    story = Story()
    story.at(2.5, Tick())
    assert story.at(6.0, PhoneSeen(1.0)) == []
    assert story.state is State.FROZEN


def test_a_sign_of_life_after_the_deadline_comes_too_late() -> None:
    story = Story()
    story.at(2.5, Tick())
    assert story.at(10.1, PhoneSeen(10.0)) == [Action.LOCK, Action.ASK_PHONE]


def test_signs_of_life_in_between_do_not_move_the_deadline() -> None:
    story = Story()
    story.at(2.5, Tick())
    for now_s in (4.0, 6.0, 8.0):
        story.at(now_s, PhoneSeen(0.5))
        story.at(now_s, LinkLost())
    assert story.at(10.0, Tick()) == [Action.LOCK]


def test_no_grace_locks_as_soon_as_the_loss_is_noticed() -> None:
    story = Story(Policy(grace_s=0))
    assert story.at(0.1, LinkLost()) == [Action.LOCK]


def test_a_grace_shorter_than_the_silence_locks_without_freezing() -> None:
    story = Story(Policy(grace_s=1))
    assert story.at(2.5, Tick()) == [Action.LOCK]


def test_the_return_of_the_phone_opens_after_a_new_question() -> None:
    story = Story()
    story.at(10, LinkLost())
    assert story.state is State.LOCKED
    assert story.at(20, PhoneSeen(19.9)) == [Action.ASK_PHONE]
    assert story.at(21, PhoneSeen(20.9)) == []  # asked once
    assert story.at(22, KeyReady(bound=True, ticket=story.status.ticket)) == [Action.UNLOCK]
    assert story.state is State.UNLOCKED
    assert story.at(23, Tick()) == []


def test_a_broken_link_while_asking_asks_again_at_the_next_return() -> None:
    story = Story()
    story.at(10, LinkLost())
    story.at(20, PhoneSeen(20.0))
    story.at(21, KeyFailed(refused=False, ticket=story.status.ticket))
    story.at(21, LinkLost())
    assert story.at(30, PhoneSeen(30.0)) == [Action.ASK_PHONE]


def test_a_refusal_is_final_until_the_user_asks() -> None:
    story = Story()
    story.at(10, LinkLost())
    story.at(20, PhoneSeen(20.0))
    story.at(21, KeyFailed(refused=True, ticket=story.status.ticket))
    assert story.status.cause is Cause.REFUSED
    assert story.at(30, PhoneSeen(30.0)) == []
    assert story.at(31, UnlockAsked()) == [Action.ASK_PHONE]


@pytest.mark.parametrize("cause", [Cause.USER, Cause.PHONE])
def test_who_locks_on_purpose_is_not_overruled_by_the_phones_presence(cause: Cause) -> None:
    story = Story()
    assert story.at(1, LockAsked(cause)) == [Action.LOCK]
    assert story.at(2, PhoneSeen(2.0)) == []
    assert story.at(3, UnlockAsked()) == [Action.ASK_PHONE]
    assert story.at(4, KeyReady(bound=True, ticket=story.status.ticket)) == [Action.UNLOCK]


def test_a_suspend_locks_and_the_phone_opens_again() -> None:
    story = Story()
    assert story.at(5000, LockAsked(Cause.SUSPEND))[-1] is Action.LOCK
    assert story.at(5001, PhoneSeen(5001.0)) == [Action.ASK_PHONE]


def test_a_suspend_does_not_take_back_a_lock_on_purpose() -> None:
    story = Story()
    story.at(1, LockAsked(Cause.USER))
    assert story.at(5000, LockAsked(Cause.SUSPEND)) == []
    assert story.at(5001, PhoneSeen(5001.0)) == []


def test_without_automatic_unlock_the_return_changes_nothing() -> None:
    story = Story(Policy(auto_unlock=False))
    story.at(10, LinkLost())
    assert story.at(20, PhoneSeen(20.0)) == []
    assert story.at(21, UnlockAsked()) == [Action.ASK_PHONE]


def test_a_key_that_comes_after_another_lock_is_discarded() -> None:
    story = Story()
    story.at(10, LinkLost())
    story.at(20, PhoneSeen(20.0))
    ticket = story.status.ticket
    story.at(21, LockAsked(Cause.USER))
    assert story.at(22, KeyReady(bound=True, ticket=ticket)) == [Action.DISCARD]
    assert story.state is State.LOCKED


def test_a_failure_of_an_older_question_says_nothing_about_the_new_one() -> None:
    story = Story()
    story.at(1, LockAsked(Cause.USER))
    old = story.status.ticket
    story.at(2, UnlockAsked())
    story.at(3, LockAsked(Cause.USER))
    story.at(4, UnlockAsked())
    story.at(5, KeyFailed(refused=True, ticket=old))
    assert story.status.asking
    assert story.at(6, KeyReady(bound=True, ticket=story.status.ticket)) == [Action.UNLOCK]


def test_a_mount_without_a_phone_stays_open() -> None:
    story = Story(status=unlocked(bound=False, now_s=0))
    for now_s, event in ((100, Tick()), (200, LinkLost()), (300, Tick())):
        assert story.at(now_s, event) == []
    assert next_wakeup_s(POLICY, story.status) is None


def test_after_a_recovery_code_the_phones_absence_locks_no_more() -> None:
    story = Story()
    story.at(10, LinkLost())
    assert story.at(11, KeyReady(bound=False, ticket=story.status.ticket)) == [Action.UNLOCK]
    assert story.at(1000, Tick()) == []
    assert story.at(1001, LinkLost()) == []


EVENTS = st.one_of(
    st.just(Tick()),
    st.just(LinkLost()),
    st.just(UnlockAsked()),
    st.builds(LockAsked, st.sampled_from(Cause)),
    st.builds(PhoneSeen, st.floats(0, 200)),
    st.builds(KeyReady, st.booleans(), st.integers(0, 4)),
    st.builds(KeyFailed, st.booleans(), st.integers(0, 4)),
)
HISTORIES = st.lists(st.tuples(st.floats(0, 5), EVENTS), max_size=40)
POLICIES = st.builds(Policy, grace_s=st.floats(0, 20), auto_unlock=st.booleans())


@given(POLICIES, st.booleans(), HISTORIES)
def test_whatever_happens(policy: Policy, bound: bool, history: list[tuple[float, Event]]) -> None:
    story = Story(policy, unlocked(bound, 0.0))
    now_s, keys_in_memory, frozen = 0.0, True, False
    for pause_s, event in history:
        now_s += pause_s
        before = story.status
        actions = story.at(now_s, event)
        after = story.status
        for action in actions:  # what the supervisor would have done
            if action is Action.LOCK:
                keys_in_memory, frozen = False, False
            elif action is Action.UNLOCK:
                assert not keys_in_memory
                keys_in_memory = True
            elif action is Action.FREEZE:
                assert keys_in_memory and not frozen
                frozen = True
            elif action is Action.THAW:
                assert frozen
                frozen = False
        assert keys_in_memory == (after.state is not State.LOCKED)
        assert frozen == (after.state is State.FROZEN)
        assert (after.deadline_s is not None) == (after.state is State.FROZEN)
        assert (after.cause is not None) == (after.state is State.LOCKED)
        if before.state is State.FROZEN and after.state is State.FROZEN:
            assert after.deadline_s == before.deadline_s
        if after.state is State.FROZEN:
            assert after.deadline_s is not None
            assert now_s < after.deadline_s <= after.seen_s + policy.grace_s
        if after.state is State.UNLOCKED and after.bound:
            assert now_s - after.seen_s < policy.late_after_s
        if Action.ASK_PHONE in actions and not isinstance(event, UnlockAsked):
            assert policy.auto_unlock
            assert after.cause in (Cause.PHONE_AWAY, Cause.SUSPEND)
        if before.state is State.LOCKED and after.state is not State.LOCKED:
            assert isinstance(event, KeyReady)
            assert event.ticket == before.ticket


@given(st.floats(0.1, 100), st.floats(0, 50))
def test_the_lock_comes_no_later_than_grace_or_lateness(grace_s: float, last_seen_s: float) -> None:
    """Woken when it asks to be, the machine is locked by the later of grace and lateness after the last sign."""
    policy = Policy(grace_s=grace_s)
    story = Story(policy, unlocked(True, last_seen_s))
    now_s = last_seen_s
    while story.state is not State.LOCKED:
        wakeup_s = next_wakeup_s(policy, story.status)
        assert wakeup_s is not None
        now_s = max(now_s, wakeup_s) + 1e-6
        story.at(now_s, Tick())
    assert now_s <= last_seen_s + max(grace_s, policy.late_after_s) + 1e-5


def test_the_page_names_every_state_action_and_event() -> None:
    page = (Path(__file__).parents[2] / "docs" / "state-machine.md").read_text()
    words = set(re.findall(r"[A-Za-z_]+", page))
    names = {state.name for state in State} | {action.name for action in Action}
    names |= {
        kind.__name__ for kind in (Tick, LinkLost, UnlockAsked, LockAsked, PhoneSeen, KeyReady, KeyFailed)
    }
    assert names <= words
