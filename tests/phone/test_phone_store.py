from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.phone_bench import PEER, PIN, make_store, pin

from phone_link.phone import atomic, setup, strict_json
from phone_link.phone.errors import (
    PinUnusable,
    StoreDamaged,
    StoreError,
    StoreExists,
    StoreMissing,
    StoreTooNew,
    StoreUnsafe,
    UnknownComputer,
)
from phone_link.phone.keyfile import KeyFile
from phone_link.phone.module import NewKey
from phone_link.phone.setup import create_store
from phone_link.phone.store import Store
from phone_link.phone.store_format import MAX_PEERS, Peer, PhoneFile


def edit(path: Path, change: object) -> None:
    """Rewrite a JSON file canonically after `change(members)`."""
    members = json.loads(path.read_bytes())
    change(members)  # type: ignore[operator]
    path.write_bytes(strict_json.encode(members))


def test_only_the_owner_can_read_anything(store: Store) -> None:
    for directory, _, files in os.walk(store.path):
        assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
        for name in files:
            assert stat.S_IMODE(os.stat(os.path.join(directory, name)).st_mode) == 0o600


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = make_store(tmp_path / "s", key=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(made.store.path).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(made.store.path / "phone.json").st_mode) == 0o600


@pytest.mark.parametrize("name", [".", "phone.json", "keys"])
def test_a_store_others_can_read_is_refused(store: Store, name: str) -> None:
    path = store.path / name
    path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o004)
    with pytest.raises(StoreUnsafe):
        store.read_keys() if name == "keys" else store.load()


def test_secrets_are_not_on_disk_in_the_clear(store: Store, puk: bytearray) -> None:
    everything = b"".join(path.read_bytes() for path in store.path.rglob("*") if path.is_file())
    assert PIN not in json.dumps(json.loads((store.path / "phone.json").read_bytes())["pin"]).encode()
    assert bytes(puk) not in everything


def test_phone_json_reads_back_what_was_written(store: Store) -> None:
    phone = replace(store.load(), peers=(PEER,), pin_tries=2)
    assert PhoneFile.parse(phone.encode()) == phone
    assert phone.static_private.hex() not in repr(phone)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("name"),
        lambda m: m.update(extra=1),
        lambda m: m.update(name=7),
        lambda m: m.update(name="x" * 65),
        lambda m: m["tries"].update(pin=4),
        lambda m: m["tries"].update(pin=-1),
        lambda m: m["tries"].update(pin=True),
        lambda m: m["tries"].update(pun=1),
        lambda m: m.update(static_private=m["static_private"].upper() + "A"),
        lambda m: m.update(static_private="ab"),
        lambda m: m["pin"].update(sealed=m["pin"]["sealed"][:-2]),
        lambda m: m["pin"]["argon2id"].update(memory_kib=1),
        lambda m: m["pin"]["argon2id"].update(memory_kib=1 << 30),
        lambda m: m["puk"]["argon2id"].update(iterations=1000),
        lambda m: m.update(peers=[PEER.as_json(), PEER.as_json()]),
        lambda m: m.update(peers=[[]]),
        lambda m: m.update(peers={}),
        lambda m: m.update(format="something else"),
    ],
)
def test_a_phone_json_out_of_bounds_is_damaged(store: Store, change: object) -> None:
    edit(store.path / "phone.json", change)
    with pytest.raises(StoreDamaged):
        store.load()


def test_a_later_version_says_so(store: Store) -> None:
    edit(store.path / "phone.json", lambda m: m.update(version=2))
    with pytest.raises(StoreTooNew):
        store.load()


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    with pytest.raises(StoreDamaged):
        PhoneFile.parse(data)
    with pytest.raises(StoreDamaged):
        KeyFile.parse(data, "00.json")


@pytest.mark.parametrize(
    "data", [b"[1]\n", b'{"a":1}', b'{"a": 1}\n', b'{"a":1,"a":1}\n', b'{"a":NaN}\n', b"[" * 100000]
)
def test_only_canonical_json_objects_are_read(data: bytes) -> None:
    with pytest.raises(StoreDamaged):
        strict_json.decode(data, "x")


def test_a_path_without_a_store_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing):
        Store(tmp_path / "nothing").load()
    (tmp_path / "empty").mkdir(mode=0o700)
    with pytest.raises(StoreMissing):
        Store(tmp_path / "empty").load()


def test_peers_are_added_renamed_and_forgotten(store: Store) -> None:
    store.add_peer(PEER)
    store.add_peer(replace(PEER, name="new name"))
    assert [peer.name for peer in store.load().peers] == ["new name"]
    assert store.peer(PEER.id) == replace(PEER, name="new name")
    twin = Peer("new name", bytes(32), PEER.paired)
    store.add_peer(twin)
    with pytest.raises(UnknownComputer, match="several"):
        store.forget_peer("new name")
    assert store.forget_peer(PEER.id.hex()).public == PEER.public
    assert store.forget_peer("new name") == twin
    assert store.peer(PEER.id) is None
    with pytest.raises(UnknownComputer):
        store.forget_peer("new name")


def test_the_number_of_peers_is_bounded(store: Store) -> None:
    peers = tuple(Peer("p", number.to_bytes(32, "big"), "") for number in range(MAX_PEERS))
    with store.transaction() as transaction:
        transaction.write(replace(transaction.phone, peers=peers))
    with pytest.raises(StoreError):
        store.add_peer(PEER)
    assert len(store.load().peers) == MAX_PEERS


@pytest.mark.parametrize("failing", ["write", "fsync", "rename"])
def test_a_failed_replacement_leaves_the_old_file_and_nothing_else(
    store: Store, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = store.path / "phone.json"
    before, names = path.read_bytes(), sorted(os.listdir(store.path))

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "fchmod" if failing == "write" else failing, fail)
        with pytest.raises(OSError, match="No space"):
            atomic.replace_file(path, b"new")
    assert path.read_bytes() == before
    assert sorted(os.listdir(store.path)) == names


def test_a_store_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(setup.SoftwareModule, "generate", fail)
        with pytest.raises(OSError, match="No space"):
            make_store(tmp_path / "s")
    assert os.listdir(tmp_path) == []


def test_nothing_is_overwritten(store: Store, tmp_path: Path) -> None:
    before = (store.path / "phone.json").read_bytes()
    with pytest.raises(StoreExists):
        make_store(store.path)
    assert (store.path / "phone.json").read_bytes() == before
    with pytest.raises(StoreMissing):
        make_store(tmp_path / "not there" / "s")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreExists):
        make_store(tmp_path / "link")


def test_an_empty_directory_may_become_the_store(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir(mode=0o755)
    made = make_store(tmp_path / "s", key=False)
    assert made.key is None
    assert made.store.load().name == "test phone"
    assert made.store.read_keys() == ()


@pytest.mark.parametrize("unusable", [b"123", b"1" * 17, b"12 4", b"12\x7f4", b"12\n4", "12é4".encode()])
def test_an_unusable_pin_makes_no_store(tmp_path: Path, unusable: bytes) -> None:
    with pytest.raises(PinUnusable):
        create_store(tmp_path / "s", "p", pin(unusable), key=NewKey(2048))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(policy="never"),
        lambda m: m.update(usage=["sign", "decrypt"]),
        lambda m: m.update(usage=["steal"]),
        lambda m: m.update(usage=[[]]),
        lambda m: m.update(id="00"),
        lambda m: m.update(nonce=""),
        lambda m: m.pop("sealed"),
    ],
)
def test_a_key_file_out_of_bounds_is_damaged(store: Store, change: object) -> None:
    (path,) = (store.path / "keys").iterdir()
    edit(path, change)
    with pytest.raises(StoreDamaged):
        store.read_keys()
