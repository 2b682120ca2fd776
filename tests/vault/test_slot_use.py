"""The record of when a slot last opened its vault: right, private, and never in the way."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from pathlib import Path

import pytest
from support.headers import made

from phonevault import slot_use
from phonevault.slot_use import last_use, note_use

HEADER = made().header
SLOT = HEADER.slots[1]


def of_slot(used: str, end: bytes = b"\n") -> bytes:
    return b'{"created":"%s","used":"%s"}%s' % (SLOT.created.encode(), used.encode(), end)


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "phonevault" / "slots"


@pytest.fixture
def record(state: Path) -> Path:
    note_use(HEADER, SLOT)
    (file,) = state.iterdir()
    return file


def test_a_use_is_recorded_for_its_slot_alone(monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    assert last_use(HEADER, SLOT) is None
    for time in ("2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z"):
        monkeypatch.setattr(slot_use, "now", lambda time=time: time)
        note_use(HEADER, SLOT)
        assert last_use(HEADER, SLOT) == time
    assert last_use(HEADER, HEADER.slots[0]) is None
    assert last_use(dataclasses.replace(HEADER, vault_id=bytes(16)), SLOT) is None
    again = dataclasses.replace(SLOT, created="2030-01-01T00:00:00Z")
    assert last_use(HEADER, again) is None  # removed, and another added under the same number


def test_the_record_is_private_and_holds_two_dates(record: Path) -> None:
    assert record.stat().st_mode & 0o777 == 0o600
    assert record.parent.stat().st_mode & 0o777 == 0o700
    assert json.loads(record.read_text()) == {"created": SLOT.created, "used": last_use(HEADER, SLOT)}
    assert os.listdir(record.parent) == [f"{HEADER.vault_id.hex()}-1.json"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\0" * 40,
        b"[]\n",
        b'{"created":"","used":""}\n',
        b'{"created":1,"used":2}\n',
        b'{"used":"2026-01-02T03:04:05Z"}\n',
        of_slot("\x1b[31m"),
        of_slot("2026-13-02T03:04:05Z"),
        of_slot("2026-01-02T03:04:05Z", end=b""),
        of_slot("2026-01-02T03:04:05Z") + b" " * 4096,
    ],
    ids=map(str, itertools.count()),  # the slot's date is not the same in every process
)
def test_a_damaged_record_says_nothing_and_is_replaced(record: Path, data: bytes) -> None:
    record.write_bytes(data)
    assert last_use(HEADER, SLOT) is None
    note_use(HEADER, SLOT)
    assert last_use(HEADER, SLOT) is not None


@pytest.mark.parametrize("kind", ["directory", "fifo", "link"])
def test_anything_else_in_its_place_is_not_read(record: Path, tmp_path: Path, kind: str) -> None:
    sound = record.read_bytes()
    record.unlink()
    if kind == "directory":
        record.mkdir()
    elif kind == "fifo":
        os.mkfifo(record)
    else:
        (tmp_path / "elsewhere").write_bytes(sound)
        record.symlink_to(tmp_path / "elsewhere")
    assert last_use(HEADER, SLOT) is None
    note_use(HEADER, SLOT)
    assert (last_use(HEADER, SLOT) is None) == (kind == "directory")
    if kind == "link":
        assert (tmp_path / "elsewhere").read_bytes() == sound
    assert os.listdir(record.parent) == [record.name]  # no temporary file


def test_what_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    state.parent.parent.mkdir(exist_ok=True)
    state.parent.write_text("a file where the state directory should be")
    note_use(HEADER, SLOT)
    assert last_use(HEADER, SLOT) is None
    state.parent.unlink()
    state.mkdir(parents=True)
    state.chmod(0o777)  # open to others
    note_use(HEADER, SLOT)
    assert os.listdir(state) == []


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    note_use(HEADER, SLOT)
    assert last_use(HEADER, SLOT) is None
