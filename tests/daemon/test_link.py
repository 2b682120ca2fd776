"""The link thread and the supervisor together, with a stand-in for the phone."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from support.daemon_fakes import FakeKeys, FakeSession, FakeVolume, eventually

from keyslots.errors import HeaderAway, HeaderDamaged
from phone_link.errors import LinkTimeout, PhoneAbsent, UserRefused
from phonevault.daemon.clock import boottime_s
from phonevault.daemon.link import Link, Phone
from phonevault.daemon.state import Cause, Policy, State, unlocked
from phonevault.daemon.supervisor import Supervisor

WAIT_S = 10


class Pocket:
    """A phone that can go away, come back and refuse."""

    def __init__(self) -> None:
        self.sessions = [FakeSession()]
        self.present = True
        self.error: Exception | None = None
        self.asked = 0
        self.attempts = 0
        self.typed: bytes | None = None

    def connect(self, timeout_s: float) -> FakeSession:
        self.attempts += 1
        if not self.present:
            raise PhoneAbsent("no phone there")
        self.sessions.append(FakeSession())
        return self.sessions[-1]

    def open_keys(self, session: FakeSession, passphrase: bytearray | None) -> FakeKeys:
        self.typed = bytes(passphrase) if passphrase is not None else None
        assert session is self.sessions[-1]
        self.asked += 1
        if self.error is not None:
            raise self.error
        return FakeKeys()

    def go(self) -> None:
        self.present = False
        self.sessions[-1].vanish()


class Bench:
    def __init__(self, policy: Policy) -> None:
        self.pocket = Pocket()
        self.volume = FakeVolume()
        self.supervisor = Supervisor(self.volume, policy, unlocked(True, boottime_s()))
        phone = Phone("pocket", self.pocket.connect, self.pocket.open_keys)
        self.link = Link(phone, self.supervisor, self.pocket.sessions[0])
        self.supervisor.on_question(self.link.ask)
        self.thread = threading.Thread(target=self.supervisor.run)

    def is_in(self, state: State) -> bool:
        return self.supervisor.status.state is state

    def start(self) -> None:
        self.thread.start()
        self.link.start()
        eventually(lambda: self.pocket.sessions[0].pings > 0)

    def stop(self) -> None:
        self.link.stop()
        self.supervisor.unmounted()
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench(Policy(grace_s=0))
    bench.start()
    yield bench
    bench.stop()


def test_a_dropout_within_grace_freezes_and_thaws() -> None:
    bench = Bench(Policy(grace_s=60))
    bench.start()
    bench.pocket.go()
    bench.volume.wait_for("freeze")
    bench.pocket.present = True
    bench.volume.wait_for("thaw")
    assert bench.pocket.asked == 0
    bench.stop()


def test_loss_locks_and_return_unlocks_with_one_question(bench: Bench) -> None:
    bench.pocket.go()
    bench.volume.wait_for("lock")
    assert bench.link.problem
    bench.pocket.present = True
    bench.volume.wait_for("unlock")
    assert bench.pocket.asked == 1
    eventually(lambda: bench.link.problem == "")


def test_the_phone_says_lock(bench: Bench) -> None:
    bench.pocket.sessions[-1].say_lock()
    bench.volume.wait_for("lock")
    eventually(lambda: bench.supervisor.status.cause is Cause.PHONE)
    pings = bench.pocket.sessions[-1].pings
    eventually(lambda: bench.pocket.sessions[-1].pings > pings)  # heartbeats go on, and open nothing
    assert bench.pocket.asked == 0


def test_the_phone_says_lock_after_a_reconnection(bench: Bench) -> None:
    bench.pocket.sessions[-1].vanish()
    bench.volume.wait_for("unlock")
    bench.pocket.sessions[-1].say_lock()
    eventually(lambda: bench.supervisor.status.cause is Cause.PHONE)


def test_unlock_by_command_while_the_phone_is_there(bench: Bench) -> None:
    bench.supervisor.ask_lock(Cause.USER).wait(WAIT_S)
    assert bench.supervisor.ask_unlock().wait(WAIT_S) == {"state": "unlocked"}


def test_unlock_by_command_while_the_phone_is_away_says_so(bench: Bench) -> None:
    bench.pocket.go()
    bench.volume.wait_for("lock")
    eventually(lambda: bench.pocket.attempts >= 3)  # in the pauses now
    reply = bench.supervisor.ask_unlock()
    bench.link.kick()
    with pytest.raises(PhoneAbsent):
        reply.wait(WAIT_S)


def test_a_refusal_is_not_repeated(bench: Bench) -> None:
    bench.pocket.error = UserRefused()
    bench.pocket.sessions[-1].vanish()
    eventually(lambda: bench.supervisor.status.cause is Cause.REFUSED)
    bench.pocket.sessions[-1].vanish()
    eventually(lambda: len(bench.pocket.sessions) == 3 and bench.pocket.sessions[-1].pings > 0)
    assert bench.pocket.asked == 1


def test_a_link_that_breaks_during_the_question_is_tried_again(bench: Bench) -> None:
    bench.pocket.error = LinkTimeout("no answer")
    bench.pocket.sessions[-1].vanish()
    eventually(lambda: bench.pocket.asked >= 1)
    assert bench.pocket.asked <= 5  # with pauses, not in a tight loop
    bench.pocket.error = None
    bench.volume.wait_for("unlock")
    assert bench.pocket.sessions[1].closed


def test_a_damaged_header_is_reported_and_not_asked_for_again(bench: Bench) -> None:
    bench.pocket.error = HeaderDamaged("both copies of the header are damaged")
    bench.pocket.sessions[-1].vanish()
    eventually(lambda: bench.supervisor.last_error == "both copies of the header are damaged")
    assert bench.is_in(State.LOCKED)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_link_thread_ends_in_a_lock(bench: Bench) -> None:
    def broken(timeout_s: float) -> FakeSession:
        raise ZeroDivisionError

    bench.link._phone = Phone("pocket", broken, bench.pocket.open_keys)
    bench.pocket.go()
    bench.volume.wait_for("lock")
    eventually(lambda: not bench.link._thread.is_alive())
    assert bench.is_in(State.LOCKED)


def test_an_offered_passphrase_is_used_once_and_wiped(bench: Bench) -> None:
    bench.supervisor.ask_lock(Cause.USER).wait(WAIT_S)
    passphrase = bytearray(b"typed")
    bench.link.offer(passphrase)
    bench.supervisor.ask_unlock().wait(WAIT_S)
    assert bench.pocket.typed == b"typed"
    eventually(lambda: passphrase == bytes(5))
    bench.supervisor.ask_lock(Cause.USER).wait(WAIT_S)
    bench.supervisor.ask_unlock().wait(WAIT_S)
    assert bench.pocket.typed is None


def test_an_unused_passphrase_is_wiped(bench: Bench) -> None:
    first, second = bytearray(b"first"), bytearray(b"second")
    bench.link.offer(first)
    bench.link.offer(second)
    bench.link.forget_passphrase()
    assert (first, second) == (bytes(5), bytes(6))


def test_what_the_phone_is_told_reaches_it_when_it_is_back(bench: Bench) -> None:
    told: list[FakeSession] = []

    def refuse(session: FakeSession) -> None:
        raise UserRefused

    bench.link.tell(refuse)  # only logged
    bench.link.tell(told.append)
    eventually(lambda: told == [bench.pocket.sessions[-1]])
    bench.pocket.go()
    bench.volume.wait_for("lock")
    bench.link.tell(told.append)
    bench.pocket.present = True
    bench.volume.wait_for("unlock")
    eventually(lambda: told[1:] == [bench.pocket.sessions[-1]])


def test_a_header_that_is_away_is_asked_for_until_it_is_back(bench: Bench) -> None:
    bench.pocket.error = HeaderAway("not there")
    bench.pocket.go()
    bench.volume.wait_for("lock")
    bench.pocket.present = True
    eventually(lambda: bench.pocket.asked >= 2)
    assert bench.supervisor.status.cause is Cause.PHONE_AWAY
    bench.pocket.error = None
    bench.volume.wait_for("unlock")
