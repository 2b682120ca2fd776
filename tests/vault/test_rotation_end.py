"""The end of a rotation meets a header that others have changed meanwhile."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyslots import store
from keyslots.derive import header_key
from keyslots.errors import HeaderChanged, HeaderTampered
from keyslots.header import Header
from keyslots.place import Place
from keyslots.secret import Secret
from phonevault import rotation
from phonevault.rotation import HeaderReplaced
from phonevault.vault import OpenedVault, RecoverySlotRequest, create


class Begun:
    """A vault whose rotation was begun."""

    def __init__(self, path: Path) -> None:
        made = create(path, cipher="aes-256-gcm", slots=[RecoverySlotRequest()])
        self.place = Place(path)
        self.before = made.header
        opened = OpenedVault(self.place, made.header, made.header.slots[0], {1: made.vmk})
        self.header, self.vmks = rotation.begin(opened)

    def write(self, header: Header, vmk: Secret | None = None) -> Header:
        """As another command would: over what is there."""
        with header_key(vmk or self.vmks[2], header.vault_id) as key:
            return store.save(self.place, header, key)

    def relabelled(self, label: str) -> Header:
        present = store.load(self.place).header
        return dataclasses.replace(present, slots=(dataclasses.replace(present.slots[0], label=label),))


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Begun]:
    made = Begun(tmp_path / "vault")
    yield made
    for vmk in made.vmks.values():
        vmk.wipe()


def test_a_changed_slot_stays_changed(begun: Begun) -> None:
    begun.write(begun.relabelled("mine"))
    done = rotation.finish(begun.place, begun.header, begun.vmks)
    assert done.epochs.files == 2 and done.slots[0].label == "mine"
    assert store.load(begun.place).header == done


def test_a_change_between_reading_and_writing_is_read_again(
    begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, changes = store.save, ["first", "second"]

    def save(*arguments: Any, **more: Any) -> Header:
        if changes:
            monkeypatch.setattr(store, "save", real)
            begun.write(begun.relabelled(changes.pop(0)))
            monkeypatch.setattr(store, "save", save)
        return real(*arguments, **more)

    monkeypatch.setattr(store, "save", save)
    assert rotation.finish(begun.place, begun.header, begun.vmks).slots[0].label == "second"


def test_one_that_changes_for_ever_is_given_up(begun: Begun, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(*_: Any, **__: Any) -> Header:
        raise HeaderChanged("changed")

    monkeypatch.setattr(store, "save", changed)
    with pytest.raises(HeaderChanged):
        rotation.finish(begun.place, begun.header, begun.vmks)


def test_nothing_is_retired_from_a_header_that_was_put_there(begun: Begun) -> None:
    present = store.load(begun.place).header
    with Secret.random(32) as other:
        begun.write(present, other)
        with pytest.raises(HeaderTampered):
            rotation.finish(begun.place, begun.header, begun.vmks)
    later = store.load(begun.place).header
    begun.write(dataclasses.replace(begun.before, generation=later.generation), begun.vmks[1])
    with pytest.raises(HeaderReplaced):
        rotation.finish(begun.place, begun.header, begun.vmks)
    assert store.load(begun.place).header.epochs.live == (1,)
