"""A header kept apart from its vault, with the real programs: made, used, away, back, elsewhere, copied."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from support.computer import Computer, wait_until
from support.needs import need_fuse

from keyslots import store

GOOD = "four random words: orbit velvet quarry lantern"


def detached(computer: Computer) -> Path:
    """The pattern's vault with its header taken out, as docs/commands.md says; the stick's directory."""
    stick = computer.root / "stick"
    stick.mkdir()
    for name, copy in ((store.MAIN, "header"), (store.BACKUP, "header.bak")):
        os.rename(computer.vault / name, stick / copy)
    return stick


def by_code(computer: Computer) -> tuple[object, ...]:
    return ("--recovery-file", computer.code_file)


def test_create_puts_it_there_and_nowhere_else(fresh: Computer) -> None:
    stick, vault = fresh.root / "stick", fresh.vault
    stick.mkdir()
    common = ("--no-phone", "--single-slot", "--recovery-file", fresh.code_file, "--header")
    fresh.run("create", vault, *common, vault / "header", code=15)
    fresh.run("create", vault, *common, stick / "no" / "header", code=15)
    (stick / "taken.bak").touch()
    fresh.run("create", vault, *common, stick / "taken", code=15)
    assert not vault.exists()
    assert os.listdir(stick) == ["taken.bak"]
    fresh.run("create", vault, *common, stick / "header")
    assert os.listdir(vault) == ["tree"]
    assert set(os.listdir(stick)) == {"taken.bak", "header", "header.bak"}
    refused = fresh.run("info", vault, code=11)
    assert "--header FILE" in refused.stderr
    shown = json.loads(fresh.run("info", vault, "--header", stick / "header", "--json").stdout)
    assert shown["header_file"] == str(stick / "header")
    fresh.run("slot", "test", vault, "--header", stick / "header", *by_code(fresh))


def test_slots_keys_and_copies(computer: Computer) -> None:
    stick = detached(computer)
    header = ("--header", stick / "header")
    words = computer.root / "words"
    words.write_text(GOOD)
    computer.run("slot", "add", computer.vault, *header, "--new-passphrase-file", words, *by_code(computer))
    by_words = ("--passphrase-file", words)
    words2 = computer.root / "words2"
    words2.write_text(GOOD + " more")
    computer.run("passwd", computer.vault, *header, *by_words, "--new-passphrase-file", words2)
    computer.run("rotate", "slot", computer.vault, *header, *by_code(computer))
    computer.run("rotate", "master", computer.vault, *header, *by_code(computer))
    (stick / "header.bak").unlink()
    found = computer.run("check", computer.vault, *header, *by_code(computer), code=70).stdout
    assert str(stick / "header.bak") in found
    computer.run("check", computer.vault, *header, *by_code(computer), "--repair", code=71)
    leftover, foreign = stick / (store.TEMPORARY + "0" * 16), stick / "photo"
    leftover.touch()
    foreign.touch()
    found = computer.run("check", computer.vault, *header, *by_code(computer)).stdout
    assert (str(leftover) in found, str(foreign) in found) == (True, False)
    computer.run("check", computer.vault, *header, *by_code(computer), "--repair")
    assert (leftover.exists(), foreign.exists()) == (False, True)
    listed = json.loads(computer.run("slot", "list", computer.vault, *header, "--json").stdout)
    assert [slot["kind"] for slot in listed] == ["phone", "recovery", "passphrase"]
    computer.run("slot", "remove", computer.vault, 2, *header, *by_code(computer))
    assert set(os.listdir(computer.vault)) == {"tree"}


def test_a_copy_becomes_the_header_of_another_stick_or_of_the_vault(computer: Computer) -> None:
    stick, second = detached(computer), computer.root / "second"
    second.mkdir()
    backup = computer.root / "backup"
    computer.run("header", "backup", computer.vault, backup, "--header", stick / "header")
    computer.run("header", "restore", computer.vault, backup, "--header", second / "h", *by_code(computer))
    assert set(os.listdir(second)) == {"h", "h.bak"}
    computer.run("slot", "test", computer.vault, "--header", second / "h", *by_code(computer))
    computer.run("header", "restore", computer.vault, backup, *by_code(computer))
    computer.run("slot", "test", computer.vault, *by_code(computer))
    at_home = ("--header", computer.vault / store.MAIN)
    computer.run("check", computer.vault, *at_home, *by_code(computer))
    away = computer.root / "no" / "h"
    computer.run("header", "restore", computer.vault, backup, "--header", away, *by_code(computer), code=16)


@pytest.mark.mount
def test_a_folder_opens_by_itself_when_phone_and_stick_are_back(computer: Computer) -> None:
    need_fuse()
    stick = detached(computer)
    drawer = computer.root / "drawer"
    computer.run("mount", computer.vault, computer.place, code=11)
    away = computer.run("mount", computer.vault, computer.place, "--header", drawer / "h", code=16)
    assert "is not there" in away.stderr
    computer.start_phone()
    computer.mount("--grace", "1", "--header", stick / "header")
    (computer.place / "note").write_text("plain text")
    assert computer.status()["header_file"] == str(stick / "header")
    computer.stop_phone()
    computer.wait_for("locked")
    os.rename(stick, drawer)
    computer.start_phone()
    wait_until(lambda: "is not there" in computer.status()["last_error"])
    assert computer.status()["state"] == "locked"
    os.rename(drawer, stick)
    computer.wait_for("unlocked")
    assert (computer.place / "note").read_text() == "plain text"
    log = next((computer.root / "home/state/phonevault/log").glob("*.log")).read_text()
    assert log.count("is not there") == 1


@pytest.mark.mount
def test_unlock_looks_elsewhere_and_remembers_it(computer: Computer) -> None:
    need_fuse()
    stick, drawer = detached(computer), computer.root / "drawer"
    computer.mount("--header", stick / "header", *by_code(computer))
    unlock = ("unlock", computer.place, *by_code(computer))
    computer.run(*unlock, "--header", stick / "header", code=29)
    computer.run("lock", computer.place)
    os.rename(stick, drawer)
    assert "is not there" in computer.run(*unlock, code=16).stderr
    with pytest.raises(OSError, match="Required key") as caught:
        os.listdir(computer.place)
    assert caught.value.errno == errno.ENOKEY
    computer.run(
        "create",
        computer.root / "other",
        "--no-phone",
        "--single-slot",
        "--recovery-file",
        computer.root / "c2",
    )
    computer.run(*unlock, "--header", computer.root / "other" / store.MAIN, code=14)
    assert computer.status()["header_file"] == str(stick / "header")
    computer.run(*unlock, "--header", drawer / "header")
    assert computer.status()["header_file"] == str(drawer / "header")
    computer.run("lock", computer.place)
    computer.run(*unlock)
    computer.run("unmount", computer.place)


@pytest.mark.mount
def test_the_header_of_another_vault_opens_nothing(computer: Computer) -> None:
    need_fuse()
    stick, other, code = detached(computer), computer.root / "other", computer.root / "c2"
    computer.run(
        "create", other, "--no-phone", "--single-slot", "--recovery-file", code, "--header", stick / "other"
    )
    wrong = ("--header", stick / "other", "--recovery-file", code)
    refused = computer.run("mount", computer.vault, computer.place, *wrong, code=19)
    assert "does not open the tree" in refused.stderr
    computer.run("slot", "remove", computer.vault, 0, *wrong, code=19)
    assert not os.path.ismount(computer.place)


@pytest.mark.mount
def test_a_header_with_other_keys_is_not_restored_under_a_mount(computer: Computer) -> None:
    need_fuse()
    backup = computer.root / "backup"
    computer.run("header", "backup", computer.vault, backup)
    restore = ("header", "restore", computer.vault, backup, "--yes", *by_code(computer))
    computer.mount(*by_code(computer))
    computer.run(*restore)  # the same volume keys: the mount may go on
    computer.run("unmount", computer.place)
    computer.run("rotate", "master", computer.vault, *by_code(computer))
    computer.mount(*by_code(computer))
    refused = computer.run(*restore, code=22)
    assert str(computer.place) in refused.stderr
    for name in (store.MAIN, store.BACKUP):
        shutil.move(computer.vault / name, computer.root / name)
    computer.run(*restore, code=22)  # what was there before cannot be known
    for name in (store.MAIN, store.BACKUP):
        shutil.move(computer.root / name, computer.vault / name)
    computer.run("unmount", computer.place)
    computer.run(*restore)
