"""A new file of the user's is on stable storage with its name: recovery files and backups of the header."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from support.headers import made

from phonevault import durable, header_copies, vault
from phonevault.cli.recovery_output import code_file, give_code
from phonevault.errors import OutputFileError, describe

CODE = "0000-" * 8 + "0000"


class Fsyncs:
    """Which inodes were brought home, and what a directory listed then; may fail for one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of_directory: list[tuple[int, list[str]]] = []
        self.fail_at: int | None = None
        self.number = errno.EIO
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        inode = os.fstat(descriptor).st_ino
        if inode == self.fail_at:
            raise OSError(self.number, os.strerror(self.number))
        self._fsync(descriptor)
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            self.of_directory.append((inode, os.listdir(descriptor)))


@pytest.fixture
def fsyncs(monkeypatch: pytest.MonkeyPatch) -> Fsyncs:
    return Fsyncs(monkeypatch)


def give(out: Path) -> None:
    with code_file(str(out)) as descriptor:
        give_code(CODE, descriptor)


def test_the_directory_of_a_recovery_file_is_brought_home(fsyncs: Fsyncs, tmp_path: Path) -> None:
    give(tmp_path / "code")
    assert fsyncs.of_directory == [(tmp_path.stat().st_ino, ["code"])]


def test_the_directory_of_a_header_backup_is_brought_home(fsyncs: Fsyncs, tmp_path: Path) -> None:
    vault_dir, out = tmp_path / "vault", tmp_path / "out"
    (vault_dir / "tree").mkdir(parents=True)
    out.mkdir()
    (vault_dir / "phonevault.json").write_bytes(made().file())
    header_copies.backup(vault_dir, out / "backup")
    assert fsyncs.of_directory == [(out.stat().st_ino, ["backup"])]


def test_a_directory_that_cannot_be_brought_home_leaves_nothing(fsyncs: Fsyncs, tmp_path: Path) -> None:
    fsyncs.fail_at = tmp_path.stat().st_ino
    with pytest.raises(OSError, match="code") as info:
        give(tmp_path / "code")
    with pytest.raises(OSError, match="new"):
        durable.write_new(tmp_path / "new", b"data")
    assert os.listdir(tmp_path) == []
    assert describe(info.value) is not None  # the machine's answer, not a bug


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP, errno.EACCES])
def test_a_directory_without_fsync_will_do(fsyncs: Fsyncs, tmp_path: Path, number: int) -> None:
    fsyncs.fail_at, fsyncs.number = tmp_path.stat().st_ino, number
    give(tmp_path / "code")
    durable.write_new(tmp_path / "new", b"data")
    assert sorted(os.listdir(tmp_path)) == ["code", "new"]


def test_a_full_disk_is_said_and_nothing_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(OutputFileError, match="No space left"):
        give(tmp_path / "code")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*new"):
        durable.write_new(tmp_path / "new", b"data")
    assert os.listdir(tmp_path) == []


def test_a_new_vaults_directories_are_brought_home(fsyncs: Fsyncs, tmp_path: Path) -> None:
    created = vault.create(tmp_path / "vault", cipher="aes-256-gcm", slots=[vault.RecoverySlotRequest()])
    created.wipe()
    assert fsyncs.of_directory[-1] == (tmp_path.stat().st_ino, ["vault"])
