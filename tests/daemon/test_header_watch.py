"""A folder whose phone lost its slot in the header locks, wherever the header was changed."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import pytest
from support.headers import CHEAP, PASSPHRASE, public_der, rsa_key

from keyslots import store
from keyslots.build import PassphraseSlotRequest, PhoneSlotRequest
from keyslots.header import phone_part
from phonevault import slots, vault
from phonevault.daemon.header_watch import HeaderWatch
from phonevault.daemon.state import Cause, Event, LockAsked, State, Status, unlocked
from phonevault.daemon.ways import PhoneWay, has_slot
from phonevault.vault import PassphraseOpener


class Sink:
    def __init__(self) -> None:
        self.status: Status = unlocked(True, 0)
        self.posted: list[Event] = []

    def post(self, event: Event) -> None:
        self.posted.append(event)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    requests = [
        PhoneSlotRequest(public_der(rsa_key()), "my phone"),
        PassphraseSlotRequest(bytearray(PASSPHRASE), cost=CHEAP),
    ]
    vault.create(tmp_path / "vault", cipher="aes-256-gcm", slots=requests).wipe()
    return tmp_path / "vault"


def watch(path: Path, sink: Sink) -> HeaderWatch:
    part = phone_part(store.load(path).header.slots[0].kem)
    assert part is not None
    way = PhoneWay("pocket", part.fingerprint.hex(), lambda _: pytest.fail("the phone was asked"))
    return HeaderWatch(lambda: store.Place(path), functools.partial(has_slot, way), sink)


def remove_the_phone(path: Path) -> None:
    opened = vault.open_vault(path, PassphraseOpener(bytearray(PASSPHRASE)))
    slots.remove(opened, 0)
    opened.wipe()


def test_the_slot_is_gone(path: Path) -> None:
    sink = Sink()
    looking = watch(path, sink)
    looking.look()
    opened = vault.open_vault(path, PassphraseOpener(bytearray(PASSPHRASE)))
    slots.save(opened, opened.header)  # another change
    looking.look()
    assert sink.posted == []
    remove_the_phone(path)
    looking.look()
    assert sink.posted == [LockAsked(Cause.NO_SLOT)]
    assert not Cause.NO_SLOT.reopens_by_itself
    looking.look()  # opened again by an answer that was on its way
    assert len(sink.posted) == 2
    sink.status = dataclasses.replace(sink.status, state=State.LOCKED)
    looking.look()
    sink.status = unlocked(False, 0)  # by a recovery code: the phone does not hold it open
    looking.look()
    assert len(sink.posted) == 2


def test_a_header_that_cannot_be_read_says_nothing(path: Path) -> None:
    sink = Sink()
    looking = watch(path, sink)
    whole = {name: (path / name).read_bytes() for name in (store.MAIN, store.BACKUP)}
    for name in whole:
        (path / name).unlink()
    looking.look()
    for name in whole:
        (path / name).write_bytes(b"rot")
    looking.look()
    assert sink.posted == []
    for name, data in whole.items():
        (path / name).write_bytes(data)
    looking.look()
    assert sink.posted == []
    remove_the_phone(path)
    looking.look()
    assert sink.posted == [LockAsked(Cause.NO_SLOT)]
