"""The supervisor with a stand-in for the mount: what it does, in which order, and who is told what."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from support.daemon_fakes import FakeKeys, FakeVolume, eventually

from keyslots.errors import HeaderTampered
from phone_link.errors import PhoneAbsent, UserRefused
from phonevault.daemon.clock import SuspendWatch, boottime_s
from phonevault.daemon.state import Cause, LinkLost, PhoneSeen, Policy, State, unlocked
from phonevault.daemon.supervisor import Reply, Supervisor
from phonevault.errors import LockNotVerified, MountBusy, PhonevaultError, UnlockImpossible
from phonevault.fs.errors import DirectoryIdDamaged

WAIT_S = 10


class Bench:
    def __init__(self, policy: Policy, bound: bool = True) -> None:
        self.volume = FakeVolume()
        self.slept_s = 0.0
        watch = SuspendWatch(boottime=lambda: self.slept_s, monotonic=lambda: 0.0)
        self.supervisor = Supervisor(self.volume, policy, unlocked(bound, boottime_s()), watch)
        self.questions: list[int] = []
        self.supervisor.on_question(self.questions.append)
        self.thread = threading.Thread(target=self.supervisor.run)

    @property
    def state(self) -> State:
        return self.supervisor.status.state

    def lock(self) -> None:
        self.supervisor.ask_lock(Cause.USER).wait(WAIT_S)

    def question(self, number: int) -> int:
        eventually(lambda: len(self.questions) >= number)
        return self.questions[number - 1]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench(Policy(grace_s=1000, late_after_s=500))
    bench.thread.start()
    yield bench
    bench.supervisor.unmounted()
    bench.thread.join(WAIT_S)
    assert not bench.thread.is_alive()


def test_lock_reports_and_unlock_by_the_phone_follows(bench: Bench) -> None:
    assert bench.supervisor.ask_lock(Cause.USER).wait(WAIT_S)["verified"] is True
    reply = bench.supervisor.ask_unlock()
    keys = FakeKeys()
    bench.supervisor.keys_ready(keys, bound=True, ticket=bench.question(1))
    assert reply.wait(WAIT_S) == {"state": "unlocked"}
    assert bench.volume.done == ["lock", "unlock"]
    eventually(lambda: keys.wiped)


def test_a_lock_that_cannot_be_verified_is_an_error(bench: Bench) -> None:
    bench.volume.verified = False
    with pytest.raises(LockNotVerified):
        bench.supervisor.ask_lock(Cause.USER).wait(WAIT_S)
    assert bench.state is State.LOCKED


def test_unlock_of_an_open_folder_is_no_question(bench: Bench) -> None:
    assert bench.supervisor.ask_unlock().wait(WAIT_S) == {"state": "unlocked"}
    assert bench.questions == []


@pytest.mark.parametrize(
    ("error", "refused"),
    [(UserRefused(), True), (PhoneAbsent("not there"), False), (HeaderTampered("mac"), True)],
)
def test_who_asked_hears_why_it_failed(bench: Bench, error: Exception, refused: bool) -> None:
    bench.lock()
    reply = bench.supervisor.ask_unlock()
    bench.supervisor.keys_failed(error, refused=refused, ticket=bench.question(1))
    with pytest.raises(type(error)):
        reply.wait(WAIT_S)
    assert bench.supervisor.last_error == str(error)
    assert bench.state is State.LOCKED


def test_a_lock_meanwhile_wins_over_an_unlock(bench: Bench) -> None:
    bench.lock()
    reply = bench.supervisor.ask_unlock()
    ticket = bench.question(1)
    bench.lock()
    with pytest.raises(UnlockImpossible):
        reply.wait(WAIT_S)
    keys = FakeKeys()
    bench.supervisor.keys_ready(keys, bound=True, ticket=ticket)
    eventually(lambda: keys.wiped)
    assert bench.state is State.LOCKED
    assert "unlock" not in bench.volume.done


def test_keys_that_the_file_system_refuses_leave_it_locked(bench: Bench) -> None:
    bench.lock()
    bench.volume.unlock_error = DirectoryIdDamaged("of another vault")
    reply, keys = Reply(), FakeKeys()
    bench.supervisor.keys_ready(keys, bound=False, ticket=bench.supervisor.status.ticket, reply=reply)
    with pytest.raises(DirectoryIdDamaged):
        reply.wait(WAIT_S)
    eventually(lambda: keys.wiped)
    assert bench.state is State.LOCKED
    assert bench.volume.done == ["lock", "lock"]


def test_an_unlock_of_a_frozen_folder_is_answered_by_the_thaw(bench: Bench) -> None:
    bench.supervisor.post(LinkLost())
    bench.volume.wait_for("freeze")
    reply = bench.supervisor.ask_unlock()
    bench.supervisor.post(PhoneSeen(boottime_s()))
    assert reply.wait(WAIT_S) == {"state": "unlocked"}
    assert bench.volume.done == ["freeze", "thaw"]


def test_a_suspend_locks(bench: Bench) -> None:
    bench.slept_s = 60.0
    bench.volume.wait_for("lock", timeout_s=WAIT_S)
    eventually(lambda: bench.supervisor.status.cause is Cause.SUSPEND)


def test_an_unmount_that_is_refused_changes_nothing(bench: Bench) -> None:
    bench.volume.unmount_errors = [MountBusy("in use", "vim (12)")]
    with pytest.raises(MountBusy):
        bench.supervisor.ask_unmount().wait(WAIT_S)
    assert bench.state is State.UNLOCKED
    assert bench.volume.done == []


def test_unmounting_a_frozen_folder_locks_first(bench: Bench) -> None:
    bench.supervisor.post(LinkLost())
    bench.supervisor.ask_unmount().wait(WAIT_S)
    bench.thread.join(WAIT_S)
    assert bench.volume.done[:3] == ["freeze", "lock", "unmount"]


def test_a_forced_unmount_of_a_busy_folder_locks_then_detaches(bench: Bench) -> None:
    bench.volume.unmount_errors = [MountBusy("in use")]
    bench.supervisor.ask_unmount(force=True).wait(WAIT_S)
    bench.thread.join(WAIT_S)
    assert bench.volume.done[:2] == ["lock", "unmount lazily"]


def test_the_end_wipes_what_is_left(bench: Bench) -> None:
    bench.supervisor.unmounted()
    bench.thread.join(WAIT_S)
    assert bench.volume.done == ["lock"]
    assert bench.state is State.LOCKED


def test_who_waits_when_the_mount_goes_is_told() -> None:
    bench = Bench(Policy())
    keys = FakeKeys()
    bench.supervisor.unmounted()
    bench.supervisor.keys_ready(keys, bound=True, ticket=0)
    reply = bench.supervisor.ask_unlock()
    bench.supervisor.run()
    with pytest.raises(UnlockImpossible):
        reply.wait(WAIT_S)
    assert keys.wiped


def test_silence_alone_freezes_and_locks() -> None:
    bench = Bench(Policy(grace_s=0.3, late_after_s=0.1))
    bench.thread.start()
    bench.volume.wait_for("lock")
    bench.supervisor.unmounted()
    bench.thread.join(WAIT_S)
    assert bench.volume.done == ["freeze", "lock"]


def test_without_a_phone_an_unlock_by_phone_is_refused() -> None:
    volume = FakeVolume()
    supervisor = Supervisor(volume, Policy(), unlocked(False, boottime_s()))
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    supervisor.ask_lock(Cause.USER).wait(WAIT_S)
    with pytest.raises(UnlockImpossible):
        supervisor.ask_unlock().wait(WAIT_S)
    supervisor.unmounted()
    thread.join(WAIT_S)


def test_a_reply_that_does_not_come_is_an_error() -> None:
    with pytest.raises(PhonevaultError):
        Reply().wait(0.01)
