"""What the phone remembers of vaults' headers: judged, stored, taken by the user, hostile, killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.phone_bench import REPOSITORY, Bench, program

from phone_link.cryptoki import CKR
from phone_link.errors import (
    CKR_HEADER_FORKED,
    CKR_HEADER_OLD,
    CKR_VAULT_SUBSTITUTED,
    PhoneError,
    ProtocolError,
)
from phone_link.phone import exit_codes
from phone_link.phone.anchors import MAX_ANCHORS, MAX_GENERATION, Anchor, Anchors, Shown, Verdict, judge
from phone_link.phone.errors import StoreDamaged, StoreTooNew, UnknownVault
from phone_link.phone.store import ANCHORS_FILE, Store

VAULT, OTHER = bytes(range(16)), bytes(range(1, 17))
MAC, FORK = b"\x11" * 32, b"\x22" * 32
TAG, OTHER_TAG = b"\x33" * 32, b"\x44" * 32


def show(generation: int, mac: bytes = MAC, vault: bytes = VAULT) -> str:
    return f'*PANCH=1,"{vault.hex().upper()}",{generation},"{mac.hex().upper()}"'


def remember(generation: int, mac: bytes = MAC, vault: bytes = VAULT, tag: bytes = TAG) -> str:
    return f'*PANCH=2,"{vault.hex().upper()}",{generation},"{mac.hex().upper()}","{tag.hex().upper()}"'


def refused(bench: Bench, line: str) -> int:
    with pytest.raises(PhoneError) as caught:
        bench.run(line)
    return caught.value.ckr


def known(bench: Bench, vault: bytes = VAULT) -> tuple[int, bytes] | None:
    anchor = bench.store.load_anchors().of(vault)
    return None if anchor is None else (anchor.shown.generation, anchor.shown.mac)


def shown(generation: int, mac: bytes = MAC, vault: bytes = VAULT) -> Shown:
    return Shown(vault, generation, mac)


def anchor(generation: int = 1, vault: bytes = VAULT) -> Anchor:
    return Anchor(shown(generation, vault=vault), TAG, "2026-01-01T00:00:00Z")


@pytest.fixture
def anchored(bench: Bench) -> Bench:
    """The phone knows generation 5 of the vault."""
    assert bench.only(show(5)) == "0"
    assert known(bench) is None  # what was only read is not remembered
    assert bench.run(remember(5)).lines == ()
    assert known(bench) == (5, MAC)
    return bench


def test_forward_only(anchored: Bench) -> None:
    assert anchored.only(show(5)) == "2"
    assert anchored.only(show(6, FORK)) == "1"
    assert refused(anchored, show(4)) == CKR_HEADER_OLD
    assert refused(anchored, show(5, FORK)) == CKR_HEADER_FORKED
    assert refused(anchored, remember(4)) == CKR_HEADER_OLD
    assert refused(anchored, remember(5, FORK)) == CKR_HEADER_FORKED
    assert known(anchored) == (5, MAC)
    anchored.run(remember(7, FORK))
    assert known(anchored) == (7, FORK)
    assert anchored.only(show(MAX_GENERATION)) == "1"


def test_a_forged_generation_that_does_not_open_moves_nothing(anchored: Bench) -> None:
    """The honest computer shows what it read; what does not open it never has remembered."""
    assert anchored.only(show(MAX_GENERATION, FORK)) == "1"
    assert anchored.only(show(5)) == "2"
    assert refused(anchored, remember(MAX_GENERATION, FORK, tag=OTHER_TAG)) == CKR_VAULT_SUBSTITUTED
    assert known(anchored) == (5, MAC)
    assert anchored.events()[-1] == "header refused"


def test_each_vault_for_itself_and_for_all_computers(anchored: Bench) -> None:
    assert anchored.only(show(1, vault=OTHER)) == "0"
    anchored.run(remember(1, vault=OTHER, tag=OTHER_TAG))
    second = anchored.connect()
    with pytest.raises(PhoneError) as caught:
        anchored.run(show(4), second)
    assert caught.value.ckr == CKR_HEADER_OLD
    assert (known(anchored), known(anchored, OTHER)) == ((5, MAC), (1, MAC))


@pytest.mark.parametrize(("generation", "mac"), [(3, FORK), (5, FORK)])
def test_the_user_takes_it_once(anchored: Bench, generation: int, mac: bytes) -> None:
    anchored.user.takes_headers = True
    assert anchored.only(show(generation, mac)) == "1"
    assert anchored.only(show(generation, mac)) == "1"
    (question,) = anchored.user.headers
    assert VAULT.hex() in question.text()
    assert str(generation) in question.text()
    assert known(anchored) == (5, MAC)  # until it has opened
    anchored.run(remember(generation, mac))
    assert known(anchored) == (generation, mac)
    assert anchored.events().count("header accepted") == 2
    anchored.user.takes_headers = False
    assert refused(anchored, show(1)) == CKR_HEADER_OLD


def test_what_is_written_after_the_user_took_a_backup(anchored: Bench) -> None:
    """A restore shows the backup (3) and writes it as 4, which is older than 5 still."""
    anchored.user.takes_headers = True
    anchored.only(show(3, FORK))
    anchored.run(remember(4, FORK))
    assert known(anchored) == (4, FORK)
    assert refused(anchored, remember(3, FORK)) == CKR_HEADER_OLD


def test_a_yes_holds_for_its_connection_and_its_vault(anchored: Bench) -> None:
    anchored.run(remember(9, vault=OTHER))
    anchored.user.takes_headers = True
    anchored.only(show(3))
    anchored.run(remember(5))  # the newest one again: the yes is used up
    anchored.only(show(3))
    assert len(anchored.user.headers) == 2
    anchored.user.takes_headers = False
    assert refused(anchored, show(3, vault=OTHER)) == CKR_HEADER_OLD
    with pytest.raises(PhoneError):
        anchored.run(show(3), anchored.connect())


def test_a_yes_is_no_yes_to_other_keys(anchored: Bench) -> None:
    anchored.user.takes_headers = True
    anchored.only(show(3))
    assert refused(anchored, remember(3, tag=OTHER_TAG)) == CKR_VAULT_SUBSTITUTED


def test_nobody_is_asked_while_everything_is_locked(anchored: Bench) -> None:
    anchored.user.takes_headers = True
    anchored.manager.lock()
    assert refused(anchored, show(3)) == CKR_HEADER_OLD
    assert refused(anchored, remember(6)) == CKR.FUNCTION_REJECTED
    anchored.manager.end_lock()
    anchored.paired = False
    assert refused(anchored, show(3)) == CKR_HEADER_OLD
    assert refused(anchored, remember(6)) == CKR.FUNCTION_REJECTED
    assert anchored.user.headers == []
    anchored.paired = True
    anchored.user.while_asking = anchored.manager.lock
    assert refused(anchored, show(3)) == CKR_HEADER_OLD
    assert len(anchored.user.headers) == 1


def test_accept_header_on_the_phone(anchored: Bench) -> None:
    place = anchored.store.path
    assert program("accept-header", place, "ffff").returncode == 14
    assert program("accept-header", place, VAULT.hex()[:3]).returncode == 14
    done = program("accept-header", place, VAULT.hex()[:8])
    assert done.stdout == f"the next header of the vault {VAULT.hex()} is taken\n"
    status = program("status", place).stdout
    assert f"vault: {VAULT.hex()}, header of generation 5, seen 20" in status
    assert "the next header is taken" in status
    assert anchored.only(show(2, FORK)) == "1"
    assert anchored.user.headers == []
    anchored.run(remember(2, FORK, tag=OTHER_TAG))
    assert known(anchored) == (2, FORK)
    assert refused(anchored, show(1)) == CKR_HEADER_OLD  # it was the next one alone
    assert anchored.events()[-2:] == ["header accepted", "header refused"]


def test_forgetting_a_vault(anchored: Bench) -> None:
    program("accept-header", anchored.store.path, VAULT.hex(), "--forget", check=True)
    assert anchored.only(show(1)) == "0"
    assert '"vaults": []' in program("status", anchored.store.path, "--json").stdout


def test_there_is_an_end_of_room_and_nothing_is_pushed_out(anchored: Bench) -> None:
    with anchored.store.anchor_transaction() as transaction:
        full = transaction.anchors
        for number in range(1, MAX_ANCHORS):
            full = full.with_anchor(anchor(vault=number.to_bytes(16, "big")))
        transaction.write(full)
    assert len(anchored.store.load_anchors().anchors) == MAX_ANCHORS
    assert refused(anchored, remember(1, vault=b"\xff" * 16)) == CKR.DEVICE_MEMORY
    anchored.run(remember(6))
    assert known(anchored) == (6, MAC)


@pytest.mark.parametrize(
    "line",
    [
        "*PANCH=1",
        show(5) + ',"00"',
        remember(5).rpartition(",")[0],
        remember(5).replace("=2", "=3"),
        remember(5).replace("=2", "=1"),
        show(0),
        show(MAX_GENERATION + 1),
        show(5, MAC[:31]),
        show(5, MAC + b"\0"),
        show(5, vault=VAULT[:15]),
        show(5).lower().replace("*panch", "*PANCH"),
        show(5).replace(',5,"', ',"5","'),
        show(5).replace('=1,"', '=1,7:"'),
        remember(5, tag=b""),
        remember(5, tag=TAG + TAG),
    ],
)
def test_what_is_not_exactly_right_is_refused(bench: Bench, line: str) -> None:
    with pytest.raises(ProtocolError):
        bench.run(line)
    assert not (bench.store.path / ANCHORS_FILE).exists()


def test_a_store_that_fails_is_told_and_closes(anchored: Bench) -> None:
    (anchored.store.path / ANCHORS_FILE).write_bytes(b"{}\n")
    assert refused(anchored, show(5)) == CKR.DEVICE_ERROR
    assert refused(anchored, remember(6)) == CKR.DEVICE_ERROR
    done = program("status", anchored.store.path)
    assert done.returncode == 5
    assert f"remove {anchored.store.path / ANCHORS_FILE}" in done.stderr
    os.chmod(anchored.store.path / ANCHORS_FILE, 0o644)
    assert refused(anchored, show(5)) == CKR.DEVICE_ERROR


# -- the file -----------------------------------------------------------------------------------------------------


def test_the_file_is_private_and_read_back(anchored: Bench) -> None:
    path = anchored.store.path / ANCHORS_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert Anchors.parse(path.read_bytes()) == anchored.store.load_anchors()
    assert Anchors.parse(path.read_bytes()).encode() == path.read_bytes()


@given(st.binary(max_size=300))
def test_hostile_bytes_are_damage(data: bytes) -> None:
    with pytest.raises(StoreDamaged):
        Anchors.parse(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"accept":false', b'"accept":0'),
        (b'"generation":1', b'"generation":0'),
        (b'"generation":1', b'"generation":true'),
        (b'"mac":"11', b'"mac":"AA'),
        (b'"tag":"33', b'"tag":"'),
        (b'"seen":"2026-', b'"seen":"12026-'),
        (b'"vault_id"', b'"vault"'),
    ],
)
def test_a_bent_member_is_damage(old: bytes, new: bytes) -> None:
    data = Anchors((anchor(),)).encode()
    assert old in data
    with pytest.raises(StoreDamaged):
        Anchors.parse(data.replace(old, new, 1))


def test_order_doubles_and_versions() -> None:
    first, second = anchor(), anchor(vault=OTHER)
    for wrong in ((second, first), (first, first)):
        with pytest.raises(StoreDamaged):
            Anchors.parse(Anchors(wrong).encode())
    with pytest.raises(StoreTooNew):
        Anchors.parse(Anchors((first,)).encode().replace(b'"version":1', b'"version":2'))
    with pytest.raises(UnknownVault):
        Anchors((first, second)).named("0")
    assert Anchors((first, second)).named(OTHER.hex().upper()[:6]) == second


@given(st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_the_judgement(at: int, offered: int, same: bool) -> None:
    verdict = judge(anchor(at), shown(offered, MAC if same else FORK))
    if offered == at:
        assert verdict is (Verdict.KNOWN if same else Verdict.FORKED)
    else:
        assert verdict is (Verdict.NEWER if offered > at else Verdict.OLDER)
    assert judge(None, shown(offered)) is Verdict.UNKNOWN


# -- the end in the middle -----------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from phone_link.phone import store as module
from support.phone_bench import Bench
where, line, moment = sys.argv[1:]
real = os.rename
def rename(source, target):
    if str(target).endswith("anchors.json") and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
    if str(target).endswith("anchors.json"):
        os.kill(os.getpid(), signal.SIGKILL)
os.rename = rename
Bench(module.Store(Path(where))).run(line)
"""


@pytest.mark.parametrize(("moment", "generation"), [("before", 5), ("after", 6)])
def test_killed_between_storing_and_answering(anchored: Bench, moment: str, generation: int) -> None:
    """The old header or the new one is remembered; the computer, which got no answer, may go on with the new one."""
    store, line = anchored.store, remember(6, FORK)
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"}
    argv = [sys.executable, "-c", KILLED, str(store.path), line, moment]
    killed = subprocess.run(argv, env=environment, cwd=REPOSITORY, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    again = Bench(Store(Path(store.path)))
    anchor = again.store.load_anchors().of(VAULT)
    assert anchor is not None
    assert anchor.shown == (shown(6, FORK) if generation == 6 else shown(5))
    assert again.only(show(6, FORK)) == ("2" if generation == 6 else "1")
    again.run(line)
    assert known(again) == (6, FORK)


def test_the_new_exit_code() -> None:
    assert exit_codes.exit_code(UnknownVault("x")) == 14
