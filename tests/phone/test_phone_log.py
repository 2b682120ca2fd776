from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from phone_link.phone import log as log_module
from phone_link.phone.display import printable
from phone_link.phone.log import Event, LogEntry, UnlockLog, readable


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    log = UnlockLog(tmp_path)
    assert log.read() == []
    log.append(LogEntry(Event.UNLOCK, "laptop", "mount ~/v", "approved", "ab"))
    log.append(LogEntry(Event.LOCK))
    first, second = log.read()
    time = first.pop("time")
    assert len(time) == 20 and time.endswith("Z")
    assert first == {
        "event": "unlock",
        "computer": "laptop",
        "reason": "mount ~/v",
        "detail": "approved",
        "key": "ab",
    }
    assert second["event"] == "lock" and "computer" not in second
    assert stat.S_IMODE(os.stat(tmp_path / "log.jsonl").st_mode) == 0o600


def test_a_line_break_in_a_text_makes_no_second_entry(tmp_path: Path) -> None:
    log = UnlockLog(tmp_path)
    log.append(LogEntry(Event.UNLOCK, 'x\n{"event":"unlock"}'))
    assert len(log.read()) == 1


def test_a_torn_last_line_costs_only_itself(tmp_path: Path) -> None:
    log = UnlockLog(tmp_path)
    log.append(LogEntry(Event.INIT))
    with open(tmp_path / "log.jsonl", "ab") as file:
        file.write(b'{"event":"unl')
    log.append(LogEntry(Event.LOCK))
    assert [entry["event"] for entry in log.read()] == ["init", "lock"]


def test_a_full_log_is_turned_over_and_still_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "MAX_LOG_BYTES", 300)
    log = UnlockLog(tmp_path)
    for number in range(5):
        log.append(LogEntry(Event.UNLOCK, f"computer {number}"))
    assert {path.name for path in tmp_path.iterdir()} <= {"log.jsonl", "log.jsonl.1"}
    assert [entry["computer"] for entry in log.read()][-1] == "computer 4"
    assert len(log.read()) >= 4


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    log = UnlockLog(tmp_path)
    threads = [
        threading.Thread(target=lambda: [log.append(LogEntry(Event.LOCK)) for _ in range(5)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (tmp_path / "log.jsonl").read_bytes().splitlines()
    assert len([json.loads(line) for line in lines]) == 20


def test_the_readable_line_is_safe_to_show() -> None:
    entry = LogEntry(Event.UNLOCK, "lap\x1b[2Jtop", "rea\u202eson", "approved")
    assert entry.readable() == "unlock for lap?[2Jtop: rea?son, approved"
    assert readable({}) == "?"
    assert LogEntry(Event.PAIRED, "laptop").readable() == "paired with laptop"


def test_printable_bounds_what_it_shows() -> None:
    assert printable("abc", 3) == "abc"
    assert printable("abcd", 3) == "ab…"
    assert printable("a\r\nb\x00\u2028", 10) == "a??b??"
