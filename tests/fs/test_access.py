"""Opening what its owner's mode closes: the mode that is put back is the true one, whoever changes it meanwhile."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

from phonevault.fs.access import made_accessible
from phonevault.fs.format.xattrs import XattrSeals
from phonevault.fs.keys import TreeKeys
from phonevault.fs.nodes import NodeTable
from phonevault.fs.permissions import Permissions
from phonevault.fs.requests.files import kill_suidgid
from phonevault.fs.xattr_store import XattrStore


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _beside(path: Path, act: threading.Thread) -> None:
    """Run a thread that begins while the file is open to us; it ends when it is closed again."""
    with made_accessible(str(path)):
        act.start()
        act.join(0.2)
    act.join(20)
    assert not act.is_alive()


def test_two_threads_leave_the_mode_that_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(0)
    path.chmod(0)
    inside, over = threading.Event(), threading.Event()

    def open_too() -> None:
        with made_accessible(str(path)):
            inside.set()
            over.wait(20)

    second = threading.Thread(target=open_too)
    with made_accessible(str(path)):
        second.start()
        inside.wait(0.2)
    over.set()
    second.join(20)
    assert _mode(path) == 0


def test_a_change_of_mode_is_not_taken_back(tmp_path: Path, keys: TreeKeys) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(0)

    def seals() -> XattrSeals:
        return keys.xattrs

    permissions = Permissions(XattrStore(seals, available=False), NodeTable(tmp_path).directory, cached=True)
    _beside(path, threading.Thread(target=permissions.chmod, args=(str(path), stat.S_IFREG, 0o444)))
    assert _mode(path) == 0o444


def test_set_id_bits_that_a_write_takes_do_not_come_back(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o4044)
    _beside(path, threading.Thread(target=kill_suidgid, args=(str(path),)))
    assert _mode(path) == 0o044
