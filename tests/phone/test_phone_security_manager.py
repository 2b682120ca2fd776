"""Who may use a key when: login, lock, pairing, consent by policy. No threads, no link."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.phone_bench import OAEP, Bench, encrypt, make_store, pin

from phone_link.cryptoki import CKA, CKO, encode_template, encode_ulong
from phone_link.errors import PinRequired, UserRefused
from phone_link.phone.security_manager import Connection
from phone_link.phone.setup import NewStore
from phone_link.phone.store import Store

PRIVATE = encode_template(((CKA.CLASS, encode_ulong(CKO.PRIVATE_KEY)),)).hex().upper()


@pytest.fixture(scope="session")
def by_policy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NewStore]:
    base = tmp_path_factory.mktemp("policies")
    return {policy: make_store(base / policy, policy=policy) for policy in ("session", "auto")}


def unlock(bench: Bench, connection: Connection | None = None) -> bool:
    """Open a session if there is none, and decrypt once; False if refused."""
    connection = connection or bench.connection
    if not connection.sessions:
        bench.session(connection)
    session = next(iter(connection.sessions))
    (key,) = bench.module.key_pairs()
    handle = bench.only(f'*PFIND={session},"{PRIVATE}"', connection).split(",")[0]
    cryptogram = encrypt(key.public_der, b"k" * 32).hex().upper()
    try:
        answer = bench.only(f'*PDEC={session},{OAEP},{handle},"{cryptogram}"', connection)
    except UserRefused:
        return False
    assert answer == f'"{"6B" * 32}"'
    return True


def with_policy(by_policy: dict[str, NewStore], policy: str, tmp_path: Path) -> Bench:
    shutil.copytree(by_policy[policy].store.path, tmp_path / "s")
    bench = Bench(Store(tmp_path / "s"))
    bench.manager.login_here(pin())
    return bench


def test_ask_asks_each_time(bench: Bench) -> None:
    bench.manager.login_here(pin())
    assert unlock(bench) and unlock(bench)
    bench.user.granted = False
    assert not unlock(bench)
    assert len(bench.user.questions) == 3
    assert bench.events() == ["login", "unlock", "unlock", "refused"]
    assert bench.entries[-1].detail == "refused on the phone"


def test_session_asks_once_a_connection(by_policy: dict[str, NewStore], tmp_path: Path) -> None:
    bench = with_policy(by_policy, "session", tmp_path)
    assert unlock(bench) and unlock(bench)
    assert len(bench.user.questions) == 1
    assert unlock(bench, bench.connect())
    assert len(bench.user.questions) == 2
    bench.manager.disconnect(bench.connection)
    assert unlock(bench)
    assert len(bench.user.questions) == 3


def test_a_refusal_is_not_remembered_as_consent(by_policy: dict[str, NewStore], tmp_path: Path) -> None:
    bench = with_policy(by_policy, "session", tmp_path)
    bench.user.granted = False
    assert not unlock(bench)
    assert not unlock(bench)
    assert len(bench.user.questions) == 2


def test_auto_never_asks(by_policy: dict[str, NewStore], tmp_path: Path) -> None:
    bench = with_policy(by_policy, "auto", tmp_path)
    assert unlock(bench)
    assert bench.user.questions == []
    assert bench.entries[-1].detail == "approved by the key's policy"


def test_lock_everything_refuses_all_until_it_ends(by_policy: dict[str, NewStore], tmp_path: Path) -> None:
    bench = with_policy(by_policy, "auto", tmp_path)
    assert unlock(bench)
    bench.manager.lock()
    assert bench.manager.locked
    assert not unlock(bench)
    assert not unlock(bench, bench.connect())
    assert bench.module.logged_in  # locked is not logged out
    bench.manager.end_lock()
    assert unlock(bench)
    assert bench.events() == ["login", "unlock", "lock", "refused", "refused", "lock ended", "unlock"]


def test_a_lock_ends_the_consents_of_sessions(by_policy: dict[str, NewStore], tmp_path: Path) -> None:
    bench = with_policy(by_policy, "session", tmp_path)
    assert unlock(bench)
    bench.manager.lock()
    bench.manager.end_lock()
    assert unlock(bench)
    assert len(bench.user.questions) == 2


def test_a_lock_while_the_question_stands_wins(bench: Bench) -> None:
    bench.manager.login_here(pin())
    bench.user.while_asking = bench.manager.lock
    assert not unlock(bench)
    assert bench.entries[-1].detail == "everything is locked"


def test_a_forgotten_computer_is_refused_even_while_connected(bench: Bench) -> None:
    bench.manager.login_here(pin())
    assert unlock(bench)

    def forget() -> None:
        bench.paired = False

    bench.user.while_asking = forget
    assert not unlock(bench)
    assert not unlock(bench)
    assert bench.entries[-1].detail == "no longer paired"
    assert len(bench.user.questions) == 2


def test_a_login_from_a_computer_counts_for_its_connection_only(bench: Bench) -> None:
    other = bench.connect()
    bench.session(), bench.session(other)
    bench.run('*PLOGIN=1,1,"1234"')
    assert unlock(bench)
    with pytest.raises(PinRequired):
        bench.run("*PLOGOUT=1", other)
    assert bench.only(f'*PFIND=1,"{PRIVATE}"', other) == "0"
    bench.manager.disconnect(bench.connection)
    assert not bench.module.logged_in


def test_closing_the_last_session_logs_out(bench: Bench) -> None:
    bench.session(), bench.session()
    bench.run('*PLOGIN=1,1,"1234"')
    bench.run("*PCLOSE=1")
    assert bench.module.logged_in
    bench.run("*PCLOSE=2")
    assert not bench.module.logged_in


def test_a_login_on_the_phone_outlives_connections(bench: Bench) -> None:
    bench.manager.login_here(pin())
    bench.session()
    bench.run("*PLOGOUT=1")
    bench.manager.disconnect(bench.connection)
    assert bench.module.logged_in
    bench.manager.logout_all()
    assert not bench.module.logged_in


def test_the_question_says_who_what_and_why(bench: Bench) -> None:
    bench.manager.login_here(pin())
    bench.session()
    bench.run('*PREASON="mount ~/Papers"')
    unlock(bench)
    assert bench.user.questions[0].text() == "unlock for laptop: mount ~/Papers?"
    unlock(bench)
    assert bench.user.questions[1].text() == "unlock for laptop (it gave no reason)?"
