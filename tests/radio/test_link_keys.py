"""The file of bonds: exact, private, never half written."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from phone_link.errors import LinkError
from phone_link.transport.link_keys import LinkKeyStore, PeerRecord

OWN = "F0:F1:F2:F3:F4:F6"
PEER = "F0:F1:F2:F3:F4:F5"
RECORD = PeerRecord(bytes(range(16)), 5, 3)


def test_round_trip_in_a_private_file(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "state"
    LinkKeyStore(directory, OWN).put(PEER, RECORD)
    assert LinkKeyStore(directory, OWN).get(PEER) == RECORD
    (path,) = directory.iterdir()
    assert path.name == "bluetooth-F0F1F2F3F4F6.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_adapters_do_not_share(tmp_path: Path) -> None:
    LinkKeyStore(tmp_path, OWN).put(PEER, RECORD)
    assert LinkKeyStore(tmp_path, PEER).get(PEER) is None


def test_channel_and_forgetting(tmp_path: Path) -> None:
    store = LinkKeyStore(tmp_path, OWN)
    store.remember_channel(PEER, 4)  # no bond, nothing to remember with
    assert store.get(PEER) is None
    store.put(PEER, RECORD)
    store.remember_channel(PEER, None)
    assert LinkKeyStore(tmp_path, OWN).get(PEER) == PeerRecord(RECORD.link_key, 5, None)
    store.forget(PEER)
    assert LinkKeyStore(tmp_path, OWN).get(PEER) is None


def test_without_a_directory_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = LinkKeyStore(None, OWN)
    store.put(PEER, RECORD)
    assert store.get(PEER) == RECORD
    assert list(tmp_path.iterdir()) == []


def test_keys_are_not_shown() -> None:
    assert RECORD.link_key.hex() not in repr(RECORD)
    assert str(RECORD.link_key) not in repr(RECORD)


def document(**changes: object) -> bytes:
    record = {"key": "00" * 16, "type": 5, "channel": 1, **changes}
    return json.dumps({"version": 1, "peers": {PEER: record}}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        document()[:-1],
        document().replace(b'"version": 1', b'"version": 2'),
        document().replace(b'"version": 1', b'"version": 1, "more": 1'),
        document(key="00" * 15),
        document(key="zz" * 16),
        document(channel=31),
        document(channel="1"),
        document(type=None),
        document(more=0),
    ],
)
def test_damage_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bluetooth-F0F1F2F3F4F6.json").write_bytes(content)
    with pytest.raises(LinkError, match="is damaged"):
        LinkKeyStore(tmp_path, OWN)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LinkKeyStore(tmp_path, OWN)
    store.put(PEER, RECORD)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(LinkError, match="No space left"):
        store.remember_channel(PEER, 9)
    assert LinkKeyStore(tmp_path, OWN).get(PEER) == RECORD
    assert len(list(tmp_path.iterdir())) == 1
