"""The journal as a user meets it: what the commands say and do about half-done writes of a killed daemon."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support.computer import Computer
from support.needs import need_fuse, need_root
from support.read_only_store import read_only_store
from support.stopping import kill_self

from phonevault.fs.journal import open_journal

pytestmark = pytest.mark.mount

TEXT = bytes(range(256)) * 100


@pytest.fixture
def torn(computer: Computer) -> Computer:
    """A vault whose one file was being overwritten, at its second block, when its daemon died."""
    need_fuse()
    mount(computer)
    (computer.place / "note").write_bytes(TEXT)
    computer.run("unmount", computer.place)
    tear(computer.vault)
    return computer


def mount(computer: Computer, *options: str) -> str:
    words = ("mount", computer.vault, computer.place, "--recovery-file", computer.code_file, *options)
    return computer.run(*words).stderr


def tear(vault: Path) -> None:
    """What the journal of a daemon holds that is killed in a write, and what the write leaves; no key is needed for either."""
    (path,) = (path for path in (vault / "tree").iterdir() if path.stat().st_size > len(TEXT))
    child = os.fork()
    if child == 0:
        fd = os.open(path, os.O_RDWR)
        where, new = 128 + 4124, memoryview(os.urandom(6000))
        slot = open_journal(vault / "journal", 1 << 16).take()
        old = os.preadv(fd, [slot.old[: len(new)]], where)
        slot.begin(os.fstat(fd).st_ino, where, os.fstat(fd).st_size, old, os.pread(fd, 16, 12), new)
        os.pwrite(fd, new[:4000], where)
        kill_self()
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def test_the_next_mount_undoes_it_and_says_so(torn: Computer) -> None:
    assert "1 half-done write(s) were undone" in mount(torn)
    assert (torn.place / "note").read_bytes() == TEXT
    assert torn.status()["crash_safe"] is True
    torn.run("unmount", torn.place)
    assert not (torn.vault / "journal").exists()
    assert "undone" not in mount(torn)
    torn.run("unmount", torn.place)


def test_a_read_only_mount_leaves_it_and_says_so(torn: Computer) -> None:
    assert "a writable mount would look at 1 half-done write(s)" in mount(torn, "--read-only")
    with pytest.raises(OSError, match="Input/output"):
        (torn.place / "note").read_bytes()
    torn.run("unmount", torn.place)
    mount(torn)
    assert (torn.place / "note").read_bytes() == TEXT
    torn.run("unmount", torn.place)


def test_a_read_only_store_can_still_be_mounted(torn: Computer) -> None:
    need_root()
    with read_only_store(torn.vault):
        assert "a writable mount would look at 1" in mount(torn)
        assert torn.status()["crash_safe"] is True
        torn.run("unmount", torn.place)


def test_a_vault_that_takes_no_journal_is_mounted_with_a_warning(computer: Computer) -> None:
    need_fuse()
    (computer.vault / "journal").symlink_to("tree")
    computer.run("mount", computer.vault, computer.place, "--recovery-file", computer.code_file, code=4)
    (computer.vault / "journal").unlink()
    (computer.vault / "journal").mkdir(mode=0o500)
    warning, safe = mount(computer), computer.status()["crash_safe"]
    assert ("no journal can be kept" in warning) is not safe
    assert safe is (os.geteuid() == 0), "only an ordinary user is kept out by a mode"
    computer.run("unmount", computer.place)
