"""Locks that meet requests: nothing is lost, every worker serves on, and each wipes its memory."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from support.mounted_tree import mounted_tree

pytestmark = [pytest.mark.mount, pytest.mark.anyone]

LOCKS = 60


def test_requests_that_come_during_a_lock_end_no_worker(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    answers: set[str] = set()
    over = threading.Event()
    with mounted_tree(tmp_path) as mount:
        (mount.path / "f").write_bytes(b"text")

        def ask() -> None:
            while not over.is_set():
                try:
                    answers.add((mount.path / "f").read_text())
                    os.stat(mount.path / "none")
                except FileNotFoundError:
                    pass
                except OSError as error:
                    answers.add(errno.errorcode[error.errno or 0])

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(LOCKS):
            mount.tell("lock")
            mount.tell("unlock")
        over.set()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
    assert answers == {"text", "ENOKEY"}
    assert capfd.readouterr().err == ""


def test_a_lock_reaches_every_worker(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with mounted_tree(tmp_path) as mount, (mount.path / "f").open("wb", buffering=0) as file:
        for number in range(LOCKS * 3):
            os.pwrite(file.fileno(), b"x" * 1000, number)
            mount.tell("lock")
            mount.tell("unlock")
    assert "could wipe" not in capfd.readouterr().err
