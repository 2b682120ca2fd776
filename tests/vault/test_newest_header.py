"""A header that was rolled back is noticed by the note of the newest one, whatever lies in the note's place."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyslots.header import Header
from phonevault.newest_header import look
from phonevault.vault import RecoverySlotRequest, create


@pytest.fixture
def header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Header]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    vault = create(tmp_path / "vault", cipher="aes-256-gcm", slots=[RecoverySlotRequest()])
    yield dataclasses.replace(vault.header, generation=5)
    vault.wipe()


def note_of(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "state" / "phonevault" / "headers").iterdir()
    return found


def test_an_older_one_and_a_changed_one_are_told(header: Header, tmp_path: Path) -> None:
    newer = dataclasses.replace(header, generation=6)
    assert look(header) == look(header) == look(newer) == look(newer) == ""
    assert "older than one met here before (6)" in look(header)
    assert "older" in look(header), "told again and again"
    assert "the same generation" in look(dataclasses.replace(newer, created="2020-01-01T00:00:00Z"))
    assert look(newer) == ""
    assert note_of(tmp_path).stat().st_mode & 0o777 == 0o600
    assert look(dataclasses.replace(header, generation=1, vault_id=bytes(16))) == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}\n",
        b'{"digest":"00","generation":9}\n',
        b'{"digest":"' + b"0" * 64 + b'","generation":true}\n',
        b'{"digest":"' + b"0" * 64 + b'","generation":9,"more":1}\n',
        b"[" * 300,
        b"\xff" * 100,
    ],
)
def test_a_note_that_is_none_says_nothing(header: Header, tmp_path: Path, data: bytes) -> None:
    assert look(header) == ""
    note_of(tmp_path).write_bytes(data)
    assert look(dataclasses.replace(header, generation=2)) == ""
    assert "older" in look(dataclasses.replace(header, generation=1))


def test_nothing_hangs_or_fails_for_want_of_a_note(
    header: Header, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look(header) == ""
    note = note_of(tmp_path)
    note.unlink()
    os.mkfifo(note)
    assert look(header) == ""
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    assert look(header) == ""
