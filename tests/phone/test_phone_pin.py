from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.phone_bench import PIN, REPOSITORY, WRONG, pin

from phone_link.errors import PinIncorrect, PinLocked
from phone_link.phone import pin_guard
from phone_link.phone.errors import PinUnusable
from phone_link.phone.pin import grouped_puk, new_puk, normal_puk
from phone_link.phone.pin_guard import PukLocked, change_pin, open_with_pin, unblock
from phone_link.phone.store import Store


def tries(store: Store) -> tuple[int, int]:
    phone = store.load()
    return phone.pin_tries, phone.puk_tries


def block(store: Store) -> None:
    for _ in range(2):
        with pytest.raises(PinIncorrect):
            open_with_pin(store, pin(WRONG))
    with pytest.raises(PinLocked):
        open_with_pin(store, pin(WRONG))


def test_the_right_pin_opens_the_same_master_key_each_time(store: Store) -> None:
    assert open_with_pin(store, pin()) == open_with_pin(store, pin())
    assert tries(store) == (3, 10)


def test_each_wrong_pin_says_how_many_are_left_and_the_last_one_blocks(store: Store) -> None:
    left = []
    for _ in range(2):
        with pytest.raises(PinIncorrect) as caught:
            open_with_pin(store, pin(WRONG))
        left.append(caught.value.tries_left)
    assert left == [2, 1]
    with pytest.raises(PinLocked):
        open_with_pin(store, pin(WRONG))
    assert tries(store) == (0, 10)
    with pytest.raises(PinLocked):
        open_with_pin(store, pin())  # the right one, too late
    assert tries(store) == (0, 10)


def test_the_right_pin_gives_all_tries_back(store: Store) -> None:
    with pytest.raises(PinIncorrect):
        open_with_pin(store, pin(WRONG))
    open_with_pin(store, pin())
    assert tries(store) == (3, 10)


def test_the_counter_is_on_disk_before_the_pin_is_tried(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def power_cut(*arguments: object) -> bytearray:
        seen.append(tries(store))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pin_guard, "unwrap_master_key", power_cut)
        with pytest.raises(KeyboardInterrupt):
            open_with_pin(store, pin())
    assert seen == [(2, 10)]
    assert tries(store) == (2, 10)


KILLED_WHILE_TRYING = """
import os, signal, sys
from pathlib import Path
from phone_link.phone import pin_guard
from phone_link.phone.store import Store
pin_guard.unwrap_master_key = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
pin_guard.open_with_pin(Store(Path(sys.argv[1])), bytearray(b"9999"))
"""


def test_killing_the_program_gives_no_extra_try(store: Store) -> None:
    for left in (2, 1, 0):
        child = subprocess.run(
            [sys.executable, "-c", KILLED_WHILE_TRYING, store.path], cwd=REPOSITORY, check=False
        )
        assert child.returncode == -signal.SIGKILL
        assert tries(store) == (left, 10)
    with pytest.raises(PinLocked):
        open_with_pin(store, pin())


def test_tries_at_the_same_time_are_all_counted(store: Store) -> None:
    outcomes: list[str] = []

    def attempt() -> None:
        try:
            open_with_pin(store, pin(WRONG))
        except PinLocked:
            outcomes.append("blocked")
        except PinIncorrect:
            outcomes.append("wrong")

    threads = [threading.Thread(target=attempt) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["blocked"] * 4 + ["wrong"] * 2


def test_the_puk_unblocks_and_the_key_stays_the_same(store: Store, puk: bytearray) -> None:
    master = open_with_pin(store, pin())
    block(store)
    unblock(store, puk, pin(b"new-pin"))
    assert tries(store) == (3, 10)
    assert open_with_pin(store, pin(b"new-pin")) == master
    with pytest.raises(PinIncorrect):
        open_with_pin(store, pin())


def test_wrong_puks_are_counted_to_the_end(store: Store, puk: bytearray) -> None:
    wrong = bytearray(b"0" * 16 if puk != b"0" * 16 else b"1" * 16)
    for left in range(9, 0, -1):
        with pytest.raises(PinIncorrect, match="PUK") as caught:
            unblock(store, wrong, pin())
        assert caught.value.tries_left == left
    for candidate in (wrong, puk):
        with pytest.raises(PukLocked):
            unblock(store, candidate, pin())
    assert tries(store) == (3, 0)
    open_with_pin(store, pin())  # the PIN itself still works


def test_an_unusable_new_pin_costs_no_try(store: Store, puk: bytearray) -> None:
    with pytest.raises(PinUnusable):
        unblock(store, puk, pin(b"1"))
    with pytest.raises(PinUnusable):
        change_pin(store, pin(), pin(b""))
    assert tries(store) == (3, 10)


def test_the_pin_can_be_changed(store: Store) -> None:
    master = open_with_pin(store, pin())
    with pytest.raises(PinIncorrect):
        change_pin(store, pin(WRONG), pin(b"abcdef"))
    change_pin(store, pin(), pin(b"abcdef"))
    assert open_with_pin(store, pin(b"abcdef")) == master
    assert tries(store) == (3, 10)


def test_a_puk_is_read_as_it_is_shown() -> None:
    puk = new_puk()
    assert len(puk) == 16 and puk.isdigit()
    assert normal_puk(bytearray(grouped_puk(puk).encode())) == puk
    assert normal_puk(bytearray(grouped_puk(puk).replace(" ", "-").encode())) == puk
    for typed in (b"", b"123", b"x" * 16, puk + b"1"):
        with pytest.raises(PinUnusable):
            normal_puk(bytearray(typed))


def test_a_failed_counter_write_means_no_try_at_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        patch.setattr(pin_guard, "unwrap_master_key", lambda *_: tried.append(1))
        with pytest.raises(OSError, match="Input/output"):
            open_with_pin(store, pin(PIN))
    assert tried == []


def test_wrong_secrets_do_not_show_in_errors(store: Store, tmp_path: Path) -> None:
    with pytest.raises(PinIncorrect) as caught:
        open_with_pin(store, pin(b"7319-secret"))
    assert "7319" not in str(caught.value) + repr(caught.value)
