"""Several phones as one session: gathered, as good as its weakest, let go together."""

from __future__ import annotations

import pytest
from support.daemon_fakes import FakeSession

from phone_link.errors import LinkClosed, LinkError, PhoneAbsent
from phonevault.daemon.quorum import Member, Quorum, QuorumSession, TooFewPhones


class Phones:
    """Phones by name, in range or not; and what was tried."""

    def __init__(self, names: str) -> None:
        self.near = set(names)
        self.tried: list[str] = []
        self.sessions: dict[str, list[FakeSession]] = {name: [] for name in names}
        self.members = [Member(name, name * 2, lambda _, name=name: self._connect(name)) for name in names]

    def _connect(self, name: str) -> FakeSession:
        self.tried.append(name)
        if name not in self.near:
            raise PhoneAbsent("not there")
        self.sessions[name].append(FakeSession())
        return self.sessions[name][-1]

    def take_tried(self) -> str:
        tried, self.tried = "".join(self.tried), []
        return tried

    def open_ones(self) -> str:
        return "".join(name for name, all_ in self.sessions.items() if any(not s.closed for s in all_))


def names(session: QuorumSession) -> str:
    return "".join(member.name for member, _ in session.parts)


def test_it_stops_when_there_are_enough() -> None:
    phones = Phones("abcd")
    assert names(Quorum(phones.members, 2).connect(1)) == "ab"
    assert phones.take_tried() == "ab"


def test_who_is_away_is_passed_over_and_tried_last_the_next_time() -> None:
    phones = Phones("abcd")
    phones.near = {"b", "d"}
    quorum = Quorum(phones.members, 2)
    assert names(quorum.connect(1)) == "bd"
    assert phones.take_tried() == "abcd"
    assert names(quorum.connect(1)) == "bd"
    assert phones.take_tried() == "bd"


def test_too_few_are_told_by_name_and_nothing_stays_open() -> None:
    phones = Phones("abc")
    phones.near = {"b"}
    with pytest.raises(TooFewPhones, match="2 phones are needed together, and a: not there; c: not there"):
        Quorum(phones.members, 2).connect(1)
    assert phones.open_ones() == ""


def test_it_gives_up_as_soon_as_there_cannot_be_enough() -> None:
    phones = Phones("abc")
    phones.near = {"c"}
    with pytest.raises(TooFewPhones):
        Quorum(phones.members, 3).connect(1)
    assert phones.take_tried() == "a"
    assert isinstance(TooFewPhones("x"), PhoneAbsent)  # as the daemon takes it: away, not refused


def test_whatever_goes_wrong_nothing_stays_open() -> None:
    phones = Phones("ab")

    def broken(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Quorum([phones.members[0], Member("x", "xx", broken)], 2).connect(1)
    assert phones.open_ones() == ""


@pytest.mark.parametrize("gone", ["a", "b"])
@pytest.mark.parametrize("call", ["ping", "wait"])
def test_what_one_phone_loses_is_lost_for_all_and_another_takes_its_place(gone: str, call: str) -> None:
    phones = Phones("abc")
    quorum = Quorum(phones.members, 2)
    session = quorum.connect(1)
    getattr(session, call)(0.01)
    phones.sessions[gone][0].close()
    phones.near.discard(gone)
    with pytest.raises(LinkError):
        getattr(session, call)(0.01)
    session.close()
    assert phones.open_ones() == ""
    phones.take_tried()
    assert sorted(names(quorum.connect(1))) == sorted({"a", "b", "c"} - {gone})
    assert gone not in phones.take_tried()


def test_any_phone_may_say_lock() -> None:
    phones = Phones("ab")
    session = Quorum(phones.members, 2).connect(1)
    heard: list[int] = []
    session.on_lock(lambda: heard.append(1))
    for name in "ab":
        phones.sessions[name][0].say_lock()
        session.wait(0.5)
    assert len(heard) == 2


def test_every_phone_must_answer_a_heartbeat() -> None:
    asked: list[tuple[str, float]] = []

    class Part:
        def __init__(self, name: str) -> None:
            self.name = name

        def ping(self, timeout_s: float) -> None:
            asked.append((self.name, timeout_s))
            if self.name == "b":
                raise LinkClosed("gone")

    lost: list[str] = []
    members = [(Member(name, name, lambda _: None), Part(name)) for name in "abc"]
    with pytest.raises(LinkClosed):
        QuorumSession(members, lambda member: lost.append(member.name)).ping(3)
    assert [name for name, _ in asked] == ["a", "b"]
    assert all(0 < timeout_s <= 3 for _, timeout_s in asked)
    assert lost == ["b"]
