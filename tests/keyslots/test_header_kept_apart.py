"""A header that is kept apart from its vault: both copies, the lock, what is missing, and directories that are not ours alone."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from support.headers import edited, made

from keyslots import store
from keyslots.errors import HeaderAway, HeaderBusy, HeaderMissing, HeaderTooNew, HeaderUnreadable, NotAVault
from keyslots.header import Header
from keyslots.place import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(tmp_path / "vault", tmp_path / "stick" / "header")
    found.directory.mkdir()
    found.tree.mkdir(parents=True)
    with made().key() as key:
        store.save_new(found, made().header, key)
    return found


def save(place: Place) -> Header:
    with made().key() as key:
        return store.save(place, store.load(place).header, key)


def test_both_copies_are_there_and_none_in_the_vault(place: Place) -> None:
    written = save(place)
    assert set(os.listdir(place.directory)) == {"header", "header.bak"}
    assert os.listdir(place.vault) == ["tree"]
    assert (store.load(place).header, store.load(place).warnings) == (written, ())
    with pytest.raises(HeaderMissing) as caught:
        store.load(place.vault)
    assert "--header" in caught.value.hint


def test_the_second_copy_is_used_and_written_anew(place: Place) -> None:
    (place.directory / "header").write_bytes(b"rot")
    loaded = store.load(place)
    assert loaded.warnings == ("header is damaged: its second copy, header.bak, was used",)
    with made().key() as key:
        store.rewrite_copy(place, place.main, key)
    assert store.load(place).warnings == ()


def test_a_medium_that_is_gone_is_no_damage(place: Place, tmp_path: Path) -> None:
    header = store.load(place).header
    os.rename(place.directory, tmp_path / "drawer")
    with pytest.raises(HeaderAway, match="stick/header is not there"):
        store.load(place)
    with made().key() as key, pytest.raises(HeaderAway):
        store.save(place, header, key)
    place.directory.mkdir()  # the empty mount point of the stick
    with pytest.raises(HeaderAway):
        store.load(place)
    with made().key() as key, pytest.raises(HeaderAway):
        store.save(place, header, key)
    assert os.listdir(place.directory) == []
    assert issubclass(HeaderAway, HeaderUnreadable)


def test_a_header_without_its_tree_is_no_vault(place: Place) -> None:
    place.tree.rmdir()
    with pytest.raises(NotAVault):
        store.load(place)


def test_nothing_else_in_its_directory_is_touched(place: Place) -> None:
    foreign = {"photo.jpg": b"1", ".header.tmp": b"2", "header.bak.old": b"3", "other.json": b"4"}
    for name, data in foreign.items():
        (place.directory / name).write_bytes(data)
    (place.directory / (store.TEMPORARY + "0" * 16)).write_bytes(b"left by a crash")
    save(place)
    found = {path.name: path.read_bytes() for path in place.directory.iterdir()}
    assert found.keys() == foreign.keys() | {"header", "header.bak"}
    assert {name: found[name] for name in foreign} == foreign


def test_two_vaults_may_keep_their_headers_in_one_directory(place: Place, tmp_path: Path) -> None:
    other = Place(tmp_path / "vault2", place.directory / "second")
    other.tree.mkdir(parents=True)
    with made().key() as key:
        store.save_new(other, made().header, key)
    assert save(place).generation == 2
    assert store.load(other).header.generation == 1


def test_the_directory_of_the_header_is_locked(place: Place) -> None:
    with store.lock(place), made().key() as key, pytest.raises(HeaderBusy):
        store.save(place, made().header, key, timeout_s=0)
    with store.lock(place.vault):  # not the vault
        assert save(place).generation == 2


def test_a_file_system_without_modes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, mode: int) -> None:
        raise PermissionError(errno.EPERM, "as FAT does")

    monkeypatch.setattr(os, "fchmod", refuse)
    assert save(place).generation == 2


def test_a_copy_of_a_header_replaces_one_that_is_away(place: Place, tmp_path: Path) -> None:
    new = Place(place.vault, tmp_path / "header")
    with made().key() as key:
        store.replace(new, made().header, key, expected=None)
    assert store.load(new).header == made().header


def test_a_newer_header_is_not_written_over(place: Place) -> None:
    before = {name: (place.directory / name).read_bytes() for name in (place.main, place.backup)}
    for name in before:
        (place.directory / name).write_bytes(edited(before[name], lambda fields: fields.update(version=2)))
    with made().key() as key, pytest.raises(HeaderTooNew):
        store.replace(place, made().header, key, expected=None)
