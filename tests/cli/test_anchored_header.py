"""A vault's header anchored on the phone, with the real programs: rollback and fork refused, taken by the user, told, not known."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from support.computer import PHONE, Computer, wait_until
from support.needs import need_fuse
from support.terminal import OnTerminal

from keyslots import store
from phone_link.phone.store import Store

GOOD = "four random words: orbit velvet quarry lantern"
KILLED = """
import os, signal
from phone_link.phone import atomic, cli
real = os.rename
def rename(source, target):
    real(source, target)
    if str(target).endswith("anchors.json"):
        os.kill(os.getpid(), signal.SIGKILL)
atomic.os.rename = rename
cli.main()
"""
WITHOUT = "from phone_link.phone import dispatch, cli; del dispatch.COMMANDS['*PANCH']; cli.main()"


def by_code(computer: Computer) -> tuple[object, ...]:
    return ("--recovery-file", computer.code_file)


def keep(computer: Computer, name: str = "old") -> Path:
    """A copy of the header as it is now, as a server may keep it."""
    return Path(shutil.copy(computer.vault / store.MAIN, computer.root / name))


def put_back(computer: Computer, copy: Path) -> None:
    for name in (store.MAIN, store.BACKUP):
        shutil.copy(copy, computer.vault / name)


def change(computer: Computer, *way: object) -> None:
    """One generation more."""
    computer.run("rotate", "slot", computer.vault, 1, *way)


def remembered(computer: Computer) -> int:
    """The generation that the phone remembers of the one vault."""
    (anchor,) = Store(computer.store).load_anchors().anchors
    return anchor.shown.generation


def vault_id(computer: Computer) -> str:
    shown: dict[str, Any] = json.loads(computer.run("info", computer.vault, "--json").stdout)
    return str(shown["vault_id"])


def test_an_old_header_is_refused_until_the_user_takes_it(computer: Computer) -> None:
    computer.start_phone()
    old = keep(computer)
    assert remembered(computer) == 1  # from create
    change(computer)
    assert remembered(computer) == 2  # told by the command that wrote it
    put_back(computer, old)
    refused = computer.run("slot", "test", computer.vault, code=57)
    assert "older than the one that the phone knows" in refused.stderr
    assert "accept-header" in refused.stderr
    computer.run("slot", "test", computer.vault, *by_code(computer))
    log = computer.run_phone("log", computer.store).stdout
    assert f"header refused for {os.uname().nodename}: vault {vault_id(computer)}" in log
    computer.run_phone("accept-header", computer.store, vault_id(computer)[:6])
    warned = computer.run("slot", "test", computer.vault).stderr
    assert (
        "older than one met here before" in warned and warned.count("\n") == 1
    )  # the computer goes on to say so
    assert remembered(computer) == 1
    computer.run("slot", "test", computer.vault)


def test_two_headers_of_one_generation(computer: Computer) -> None:
    computer.start_phone()
    old = keep(computer)
    change(computer, *by_code(computer))
    first = keep(computer, "first")
    put_back(computer, old)
    change(computer, *by_code(computer))
    computer.run("slot", "test", computer.vault)
    put_back(computer, first)
    assert "same generation" in computer.run("slot", "test", computer.vault, code=58).stderr


def test_changes_without_the_phone_are_taken(computer: Computer) -> None:
    computer.start_phone()
    for _ in range(3):
        change(computer, *by_code(computer))
    assert remembered(computer) == 1
    assert computer.run("slot", "test", computer.vault).stderr == ""
    assert remembered(computer) == 4


@pytest.mark.mount
@pytest.mark.anyone
def test_a_mount_is_refused_and_the_asked_user_may_take_the_header(computer: Computer) -> None:
    need_fuse()
    old = keep(computer)
    change(computer, *by_code(computer))
    serve = ("serve", computer.store, "--listen", computer.spec, "--pin-file", computer.pin_file)
    with OnTerminal(computer.command(PHONE, *serve), computer.environment) as screen:
        screen.wait_for("ready:")
        asked = r"(?:[\s\S]*?\[y/N\] ){%d}"
        first = computer.start("slot", "test", computer.vault)
        screen.wait_for(asked % 1)
        screen.answer("y")
        assert first.wait(timeout=60) == 0
        put_back(computer, old)
        refused = computer.start("mount", computer.vault, computer.place)
        screen.wait_for(r"OLD header of the vault .*generation 1, known is 2.*Take it\? \[y/N\] ")
        screen.answer("n")
        assert refused.wait(timeout=60) == 57
        assert not os.path.ismount(computer.place)
        taken = computer.start("mount", computer.vault, computer.place)
        screen.wait_for(asked % 3)  # the header
        screen.answer("y")
        screen.wait_for(asked % 4)  # the key
        screen.answer("y")
        assert taken.wait(timeout=60) == 0
        (computer.place / "note").write_text("mine")
        computer.run("unmount", computer.place)
        assert remembered(computer) == 1


@pytest.mark.mount
@pytest.mark.anyone
def test_a_folder_does_not_open_by_itself_with_an_old_header(computer: Computer) -> None:
    need_fuse()
    old = keep(computer)
    computer.start_phone()
    change(computer)
    computer.mount("--grace", "1")
    new = keep(computer, "new")
    computer.stop_phone()
    computer.wait_for("locked")
    put_back(computer, old)
    computer.start_phone()
    wait_until(lambda: "older than the one" in computer.status()["last_error"])
    assert computer.status()["state"] == "locked"
    computer.run("unlock", computer.place, code=57)
    put_back(computer, new)
    computer.run("unlock", computer.place)
    computer.wait_for("unlocked")
    computer.run("unmount", computer.place)


def test_a_restored_backup(computer: Computer) -> None:
    computer.start_phone()
    backup = computer.root / "backup"
    computer.run("header", "backup", computer.vault, backup)
    for _ in range(3):
        change(computer)
    restore = ("header", "restore", computer.vault, backup, "--yes")
    computer.run(*restore, code=57)  # asked with the phone, which shall use a key of an old header
    told = computer.run(*restore, *by_code(computer)).stderr
    assert "asks its user" in told
    assert computer.run("slot", "test", computer.vault).stderr == ""  # written as the newest
    for name in (store.MAIN, store.BACKUP):
        (computer.vault / name).unlink()
    assert "asks its user" in computer.run(*restore, *by_code(computer)).stderr
    computer.run("slot", "test", computer.vault, code=57)  # what there was before could not be known
    computer.run_phone("accept-header", computer.store, vault_id(computer))
    computer.run("slot", "test", computer.vault)
    for name in (store.MAIN, store.BACKUP):
        (computer.vault / name).unlink()
    computer.run_phone("accept-header", computer.store, remembered_id(computer))
    computer.run(*restore)  # with the phone itself: shown, opened, and told what was written
    assert remembered(computer) == 2
    computer.run("slot", "test", computer.vault)


def start_changed(computer: Computer, program: str) -> None:
    """Serve the phone with a program that changes it first."""
    serve = ("serve", computer.store, "--listen", computer.spec, "--pin-file", computer.pin_file)
    argv = [sys.executable, "-c", program, *map(str, serve), "--approve", "auto"]
    computer.phone = computer.spawn(argv)
    assert computer.phone.stdout is not None
    assert any(line.startswith("ready:") for line in computer.phone.stdout)


def test_a_phone_killed_between_storing_and_answering(computer: Computer) -> None:
    change(computer, *by_code(computer))
    start_changed(computer, KILLED)
    computer.run("slot", "test", computer.vault, code=42)
    assert computer.phone is not None
    assert computer.phone.wait(timeout=30) == -signal.SIGKILL
    assert remembered(computer) == 2
    computer.start_phone()
    assert computer.run("slot", "test", computer.vault).stderr == ""


def remembered_id(computer: Computer) -> str:
    (anchor,) = Store(computer.store).load_anchors().anchors
    return anchor.vault_id.hex()


def test_a_vault_never_seen_and_a_phone_without_memory(computer: Computer) -> None:
    computer.start_phone()
    computer.run_phone("accept-header", computer.store, remembered_id(computer), "--forget")
    assert "not seen this vault before" in computer.run("slot", "test", computer.vault).stderr
    assert computer.run("slot", "test", computer.vault).stderr == ""
    computer.stop_phone()
    start_changed(computer, WITHOUT)
    told = computer.run("slot", "test", computer.vault).stderr
    assert "does not remember this vault's header" in told


def test_a_phone_that_is_gone_is_not_told(computer: Computer) -> None:
    computer.start_phone()
    argv = computer.command("phonevault.cli.main", "slot", "add", computer.vault, "--passphrase")
    with OnTerminal(argv, computer.environment) as screen:
        screen.wait_for("New passphrase: ")
        computer.stop_phone(signal.SIGTERM)
        screen.answer(GOOD)
        screen.wait_for("Once more: ")
        screen.answer(GOOD)
        screen.wait_for(r"the phone pocket was not told of the new header")
        screen.wait_for("added slot 2")
        assert screen.wait() == 0
    computer.start_phone()
    assert computer.run("slot", "test", computer.vault).stderr == ""
    assert remembered(computer) == 2


def test_a_new_phone_knows_the_header_that_it_is_in(computer: Computer) -> None:
    computer.run("slot", "remove", computer.vault, 0, *by_code(computer))
    old = keep(computer)
    computer.start_phone()
    computer.run("slot", "add", computer.vault, "--new-phone", "pocket", *by_code(computer))
    assert remembered(computer) == 3
    put_back(computer, old)
    computer.run("slot", "test", computer.vault, "--phone", "pocket", code=14)


@pytest.mark.mount
@pytest.mark.anyone
def test_a_rotation_in_a_mount_is_told_to_its_phone(computer: Computer) -> None:
    need_fuse()
    computer.start_phone()
    computer.mount()
    (computer.place / "note").write_text("mine")
    computer.run("rotate", "master", computer.vault, "--yes", *by_code(computer))
    written = json.loads(computer.run("info", computer.vault, "--json").stdout)["generation"]
    assert written == 3
    wait_until(lambda: remembered(computer) == written)
    computer.run("unmount", computer.place)
