"""A bell that wakes a thread now or later."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import threading
import time

import pytest

from phonevault.fuse.bell import Bell

_LONG_S = 30


def test_a_ring_before_the_sleep_is_not_lost() -> None:
    bell = Bell()
    bell.ring()
    started = time.monotonic()
    bell.sleep(_LONG_S)
    assert time.monotonic() - started < _LONG_S


def test_each_ring_ends_one_sleep() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    bell.sleep(_LONG_S)
    started = time.monotonic()
    bell.sleep(0.05)
    assert time.monotonic() - started >= 0.05


def test_a_sleeper_is_woken_by_another_thread() -> None:
    bell, woken = Bell(), threading.Event()

    def sleep() -> None:
        bell.sleep(None)
        woken.set()

    thread = threading.Thread(target=sleep)
    thread.start()
    assert not woken.wait(0.05)
    bell.ring()
    assert woken.wait(_LONG_S)
    thread.join()


def test_a_ring_may_be_put_off() -> None:
    bell = Bell()
    started = time.monotonic()
    bell.ring(0.05)
    bell.sleep(_LONG_S)
    assert 0.05 <= time.monotonic() - started < _LONG_S


def test_the_last_ring_counts() -> None:
    bell = Bell()
    bell.ring(_LONG_S)
    bell.ring()
    started = time.monotonic()
    bell.sleep(_LONG_S)
    assert time.monotonic() - started < _LONG_S


def _timers() -> set[int]:
    """This process's timer descriptors."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            if os.readlink(f"/proc/self/fd/{number}") == "anon_inode:[timerfd]":
                found.add(int(number))
    return found


def test_its_descriptor_is_closed_with_it_and_not_inherited() -> None:
    before = _timers()
    bell = Bell()
    (number,) = _timers() - before
    assert not os.get_inheritable(number)
    del bell
    assert _timers() == before


def test_without_a_descriptor_left_it_says_so() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(used - 1, 3), hard))
        with pytest.raises(OSError, match="Too many open files") as refused:
            Bell()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert refused.value.errno == errno.EMFILE
