"""The two copies on disk: which one counts, and that a sound one is there whatever call of a save fails."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.headers import edited, made

from keyslots import store
from keyslots.envelope import MAX_FILE_BYTES, parse_file, verify_mac
from keyslots.errors import (
    HeaderBusy,
    HeaderChanged,
    HeaderDamaged,
    HeaderTampered,
    HeaderTooNew,
    HeaderUnreadable,
    HeaderWriteFailed,
    NotAVault,
)
from keyslots.header import Header

MAIN, BACKUP = "phonevault.json", "phonevault.json.bak"


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    directory = tmp_path / "vault"
    directory.mkdir()
    (directory / "tree").mkdir()
    with made().key() as key:
        store.save_new(directory, made().header, key)
    return directory


def save(vault: Path, header: Header, **options: Any) -> Header:
    with made().key() as key:
        return store.save(vault, header, key, **options)


def files(vault: Path) -> set[str]:
    return set(os.listdir(vault))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def test_two_equal_copies_of_mode_0600(vault: Path) -> None:
    loaded = store.load(vault)
    assert loaded.header == made().header
    assert loaded.warnings == ()
    assert (vault / MAIN).read_bytes() == (vault / BACKUP).read_bytes() == made().file()
    assert {stat.S_IMODE((vault / name).stat().st_mode) for name in (MAIN, BACKUP)} == {0o600}
    assert files(vault) == {MAIN, BACKUP, "tree"}


def test_a_save_writes_the_next_generation_twice(vault: Path) -> None:
    written = save(vault, store.load(vault).header)
    assert written.generation == 2
    assert store.load(vault).header == written
    assert store.load(vault).warnings == ()
    with made().key() as key:
        verify_mac(store.load(vault).sealed, key)


def test_mode_and_owner_of_a_copy_stay(vault: Path) -> None:
    os.chmod(vault / MAIN, 0o640)
    save(vault, store.load(vault).header)
    assert stat.S_IMODE((vault / MAIN).stat().st_mode) == 0o640
    assert stat.S_IMODE((vault / BACKUP).stat().st_mode) == 0o600


# --- which copy counts ---


def symlink(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "empty": lambda path: path.write_bytes(b""),
    "torn": lambda path: path.write_bytes(made().file()[:500]),
    "missing": lambda path: path.unlink(),
    "oversize": lambda path: os.truncate(path, MAX_FILE_BYTES + 1),
    "huge": lambda path: os.truncate(path, 1 << 40),
    "symlink": symlink,
    "fifo": fifo,
    "directory": directory,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_copy_is_replaced_by_the_other_and_said(vault: Path, damage: str) -> None:
    DAMAGE[damage](vault / MAIN)
    loaded = store.load(vault)
    assert loaded.header == made().header
    (warning,) = loaded.warnings
    assert warning.startswith("phonevault.json is ")
    assert "phonevault.json.bak, was used" in warning


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_second_copy_is_said(vault: Path, damage: str) -> None:
    DAMAGE[damage](vault / BACKUP)
    loaded = store.load(vault)
    assert loaded.header == made().header
    (warning,) = loaded.warnings
    assert "second copy" in warning


@pytest.mark.parametrize("second", DAMAGE)
@pytest.mark.parametrize("first", ["flipped", "missing", "fifo"])
def test_without_a_sound_copy_the_header_is_damaged(vault: Path, first: str, second: str) -> None:
    DAMAGE[first](vault / MAIN)
    DAMAGE[second](vault / BACKUP)
    with pytest.raises(HeaderDamaged):
        store.load(vault)


def test_no_vault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(NotAVault):
            store.load(path)


def test_a_save_heals_a_damaged_copy(vault: Path) -> None:
    for name in (MAIN, BACKUP):
        flip(vault / name)
        save(vault, store.load(vault).header)
        assert store.load(vault).warnings == ()


def tamper(path: Path) -> None:
    path.write_bytes(edited(path.read_bytes(), lambda header: header.update(cipher="rot13")))


def renew(path: Path) -> None:
    path.write_bytes(edited(path.read_bytes(), lambda header: header.update(version=2)))


@pytest.mark.parametrize(("change", "error"), [(tamper, HeaderTampered), (renew, HeaderTooNew)])
def test_a_first_copy_that_is_wrong_is_never_passed_over(
    vault: Path, change: Callable[[Path], None], error: type[Exception]
) -> None:
    change(vault / MAIN)
    with pytest.raises(error):
        store.load(vault)


@pytest.mark.parametrize(("change", "error"), [(tamper, HeaderTampered), (renew, HeaderTooNew)])
def test_a_second_copy_that_is_wrong(
    vault: Path, change: Callable[[Path], None], error: type[Exception]
) -> None:
    change(vault / BACKUP)
    (warning,) = store.load(vault).warnings
    assert "not valid" in warning
    flip(vault / MAIN)
    with pytest.raises(error):
        store.load(vault)


def test_copies_of_two_generations(vault: Path) -> None:
    old = (vault / MAIN).read_bytes()
    save(vault, store.load(vault).header)
    (vault / MAIN).write_bytes(old)
    loaded = store.load(vault)
    assert loaded.header.generation == 1
    (warning,) = loaded.warnings
    assert "generation 1 and 2" in warning


def test_no_permission_is_no_damage(vault: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if path == MAIN:
            raise PermissionError(errno.EACCES, "Permission denied")
        return os.open(path, flags, *args, **options)

    monkeypatch.setattr(store, "os", Calls(replace={"open": denied}))
    with pytest.raises(HeaderUnreadable):
        store.load(vault)


# --- the lock ---


def test_a_save_waits_for_the_lock_and_says_so(vault: Path) -> None:
    header = store.load(vault).header
    with store.lock(vault), pytest.raises(HeaderBusy):
        save(vault, header, timeout_s=0.05)
    assert save(vault, header).generation == 2


def test_loading_goes_on_while_another_holds_the_lock(vault: Path) -> None:
    with store.lock(vault):
        assert store.load(vault).header == made().header


def test_a_change_made_from_an_old_header_is_refused(vault: Path) -> None:
    header = store.load(vault).header
    save(vault, header)
    before = (vault / MAIN).read_bytes()
    with pytest.raises(HeaderChanged):
        save(vault, header)
    with pytest.raises(HeaderChanged):
        save(vault, dataclasses.replace(header, vault_id=bytes(16), generation=2))
    with made().key() as key, pytest.raises(HeaderChanged):
        store.save_new(vault, header, key)
    assert (vault / MAIN).read_bytes() == before


def test_a_file_system_without_locks(vault: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(descriptor: int, operation: int) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", refused)
    assert save(vault, store.load(vault).header).generation == 2


# --- a save that is interrupted at any call ---


class Crash(BaseException):
    """The machine is gone: nothing that follows happens."""


class Calls:
    """The module `os` with its system calls counted; the one with the number `fail_at` fails."""

    NAMES = (
        "open",
        "write",
        "fsync",
        "close",
        "replace",
        "unlink",
        "listdir",
        "stat",
        "fstat",
        "fchmod",
        "read",
    )

    def __init__(
        self,
        fail_at: int = -1,
        *,
        crash: bool = False,
        after: bool = False,
        replace: dict[str, Callable[..., Any]] | None = None,
    ) -> None:
        self.count = 0
        self.names: list[str] = []
        self._fail_at, self._crash, self._after = fail_at, crash, after
        self._replace = replace or {}
        self._descriptors: set[int] = set()

    def end_process(self) -> None:
        """Do what the kernel does after a crash: close all descriptors, which ends the lock."""
        for descriptor in self._descriptors:
            os.close(descriptor)

    def __getattr__(self, name: str) -> Any:
        if name in self._replace:
            return self._replace[name]
        real = getattr(os, name)
        return self._wrap(name, real) if name in self.NAMES else real

    def _wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            number, self.count = self.count, self.count + 1
            self.names.append(name)
            if self._crash and self._fail_at >= 0 and number > self._fail_at:
                raise Crash
            if number == self._fail_at and not self._after:
                if name == "close":
                    real(*args, **options)  # close(2) releases the descriptor also when it fails
                    self._descriptors.discard(args[0])
                raise Crash if self._crash else OSError(errno.EIO, "Input/output error")
            if name == "write":
                args = (args[0], args[1][:700])  # short writes, so that a copy can be torn in its middle
            result = real(*args, **options)
            if name == "open":
                self._descriptors.add(result)
            elif name == "close":
                self._descriptors.discard(args[0])
            if number == self._fail_at:
                raise Crash
            return result

        return call


def calls_of_a_save(vault: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls, header = Calls(), store.load(vault).header
    with monkeypatch.context() as patch:
        patch.setattr(store, "os", calls)
        save(vault, header)
    return calls.names


def sound_generations(vault: Path) -> list[int]:
    """Generations of the copies that are whole and whose MAC is right."""
    found = []
    for name in (MAIN, BACKUP):
        with contextlib.suppress(HeaderDamaged, FileNotFoundError), made().key() as key:
            sealed = parse_file((vault / name).read_bytes())
            verify_mac(sealed, key)
            found.append(sealed.header.generation)
    return found


def test_an_error_of_any_call_leaves_a_sound_copy_and_no_temporary_file(
    vault: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = calls_of_a_save(vault, monkeypatch)
    assert {"open", "write", "fsync", "close", "replace", "fchmod"} <= set(names)
    failed = 0
    for number in range(len(names)):
        before = store.load(vault).header
        with monkeypatch.context() as patch:
            patch.setattr(store, "os", Calls(number))
            try:
                save(vault, before)
            except (HeaderWriteFailed, HeaderUnreadable):
                failed += 1
        assert files(vault) == {MAIN, BACKUP, "tree"}
        generations = sound_generations(vault)
        assert len(generations) == 2
        assert set(generations) <= {before.generation, before.generation + 1}
        save(vault, store.load(vault).header)  # and the vault goes on working
    assert failed > len(names) // 2


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
def test_a_crash_at_any_call_leaves_a_sound_copy(
    vault: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    names = calls_of_a_save(vault, monkeypatch)
    between = leftovers = 0
    for number in range(len(names)):
        before = store.load(vault).header
        with monkeypatch.context() as patch:
            calls = Calls(number, crash=True, after=after)
            patch.setattr(store, "os", calls)
            with contextlib.suppress(Crash):
                save(vault, before)
            calls.end_process()
        generations = sound_generations(vault)
        assert generations in ([before.generation + n for n in copies] for copies in ((0, 0), (0, 1), (1, 1)))
        loaded = store.load(vault)
        if generations == [before.generation, before.generation + 1]:
            between += 1
            assert "differ" in loaded.warnings[0]
            assert loaded.header == before
        leftovers += len(files(vault) - {MAIN, BACKUP, "tree"})
        save(vault, loaded.header)
        assert files(vault) == {MAIN, BACKUP, "tree"}  # the next save removes what the crash left
    assert between
    assert leftovers
