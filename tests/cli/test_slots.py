"""`phonevault slot`, `passwd`, `header`: the commands, with a real phone."""

from __future__ import annotations

import json
import re

import pytest
from support.computer import Computer, wait_until
from support.needs import need_fuse
from support.terminal import OnTerminal

from keyslots import store
from keyslots.slots.passphrase import Cost
from phonevault.kdf_cost import LEAST

GOOD = "four random words: orbit velvet quarry lantern"


def slots(computer: Computer) -> list[tuple[int, str]]:
    found = json.loads(computer.run("slot", "list", computer.vault, "--json").stdout)
    return [(slot["id"], slot["kind"]) for slot in found]


def by_code(computer: Computer) -> tuple[object, ...]:
    return ("--recovery-file", computer.code_file)


def write(computer: Computer, name: str, text: str) -> str:
    path = computer.root / name
    path.touch(mode=0o600)
    path.write_text(text)
    return str(path)


def test_a_passphrase_comes_changes_and_goes(computer: Computer) -> None:
    first, second = write(computer, "p1", GOOD), write(computer, "p2", GOOD + " again")
    add = computer.run("slot", "add", computer.vault, "--new-passphrase-file", first, *by_code(computer))
    assert (add.stdout, add.stderr) == ("added slot 2 (passphrase: passphrase)\n", "")
    assert slots(computer) == [(0, "phone"), (1, "recovery"), (2, "passphrase")]
    test = computer.run("slot", "test", computer.vault, "--passphrase-file", first)
    assert test.stdout.startswith("slot 2 (passphrase: passphrase) opens ")
    computer.run("passwd", computer.vault, "--passphrase-file", first, "--new-passphrase-file", second)
    computer.run("slot", "test", computer.vault, "--passphrase-file", first, code=14)
    computer.run("slot", "test", computer.vault, "--passphrase-file", second)
    computer.run("slot", "remove", computer.vault, 2, "--passphrase-file", second, code=19)
    computer.run("slot", "remove", computer.vault, 2, *by_code(computer))
    computer.run("slot", "test", computer.vault, "--passphrase-file", second, code=14)
    assert slots(computer) == [(0, "phone"), (1, "recovery")]


def test_a_phone_is_asked_to_open_its_new_slot(computer: Computer) -> None:
    computer.run("slot", "remove", computer.vault, 0, *by_code(computer))
    computer.start_phone()
    computer.run("slot", "test", computer.vault, "--phone", "pocket", code=14)
    computer.run("slot", "add", computer.vault, "--new-phone", "pocket", *by_code(computer))
    assert (
        "slot 0 (phone: pocket)" in computer.run("slot", "test", computer.vault, "--phone", "pocket").stdout
    )
    computer.stop_phone()
    computer.run("slot", "add", computer.vault, "--new-phone", "pocket", *by_code(computer), code=41)
    again = computer.run(
        "slot", "add", computer.vault, "--new-phone", "pocket", "--unproved", *by_code(computer)
    )
    assert "has a slot already" in again.stderr
    assert slots(computer) == [(0, "phone"), (1, "recovery"), (2, "phone")]


def test_a_new_recovery_code_opens_and_its_file_is_never_overwritten(computer: Computer) -> None:
    out = computer.root / "second"
    computer.run("slot", "add", computer.vault, "--new-recovery-file", out, *by_code(computer))
    assert out.stat().st_mode & 0o777 == 0o600
    computer.run("slot", "test", computer.vault, "--recovery-file", out)
    before = out.read_bytes()
    computer.run("slot", "add", computer.vault, "--new-recovery-file", out, *by_code(computer), code=6)
    assert out.read_bytes() == before
    computer.run("slot", "add", computer.vault, "--recovery", *by_code(computer), code=5)  # no terminal
    assert len(slots(computer)) == 3


def used(computer: Computer) -> list[str | None]:
    found = json.loads(computer.run("slot", "list", computer.vault, "--json").stdout)
    return [slot["last_used"] for slot in found]


@pytest.mark.mount
def test_the_last_use_of_each_slot_is_remembered_but_not_in_the_vault(computer: Computer) -> None:
    need_fuse()
    records = computer.root / "home" / "state" / "phonevault" / "slots"
    before = {name: (computer.vault / name).read_bytes() for name in (store.MAIN, store.BACKUP)}
    assert used(computer) == [None, None]
    computer.run("slot", "test", computer.vault, *by_code(computer))
    assert used(computer)[0] is None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", used(computer)[1] or "")
    assert used(computer)[1] in computer.run("slot", "list", computer.vault).stdout
    computer.start_phone()
    computer.mount("--phone", "pocket")
    assert None not in used(computer)
    for file in records.iterdir():
        file.write_bytes(b"rot")
    assert used(computer) == [None, None]
    computer.run("lock", computer.place)
    computer.run("unlock", computer.place)
    wait_until(lambda: used(computer)[0] is not None)  # the daemon does not wait for it
    assert used(computer)[1] is None
    computer.run("unmount", computer.place)
    assert {name: (computer.vault / name).read_bytes() for name in before} == before


def test_a_new_passphrase_costs_what_this_computer_bears(computer: Computer) -> None:
    """The real program; the other tests run it with the least cost that a header may say."""
    computer.measures_passphrases = True
    first, second = write(computer, "p1", GOOD), write(computer, "p2", GOOD + " again")
    computer.run("slot", "add", computer.vault, "--new-passphrase-file", first, *by_code(computer))
    computer.run("passwd", computer.vault, "--passphrase-file", first, "--new-passphrase-file", second)
    other = computer.root / "other"
    argv = ("--no-phone", "--passphrase-file", first, "--recovery-file", computer.root / "other-code")
    computer.run("create", other, *argv)
    for vault, number in ((computer.vault, 2), (other, 0)):
        slot = json.loads(computer.run("slot", "list", vault, "--json").stdout)[number]
        cost = Cost(**slot["argon2id"])
        cost.check()
        assert cost.memory_kib >= LEAST.memory_kib
        assert cost.iterations >= LEAST.iterations


def test_bad_calls_change_nothing(computer: Computer) -> None:
    before = (computer.vault / store.MAIN).read_bytes()
    weak = write(computer, "weak", "password1")
    computer.run("slot", "add", computer.vault, *by_code(computer), code=2)
    computer.run("slot", "add", computer.vault, "--recovery", "--new-phone", "pocket", code=2)
    computer.run(
        "slot",
        "add",
        computer.vault,
        "--new-passphrase-file",
        weak,
        "--label",
        "a\tb",
        *by_code(computer),
        code=3,
    )
    computer.run("slot", "remove", computer.vault, 9, *by_code(computer), code=19)
    computer.run("slot", "add", computer.vault, "--new-phone", "nobody", *by_code(computer), code=47)
    computer.run("passwd", computer.vault, "--passphrase-file", weak, "--new-passphrase-file", weak, code=14)
    assert (computer.vault / store.MAIN).read_bytes() == before
    told = computer.run("slot", "add", computer.vault, "--new-passphrase-file", weak, *by_code(computer))
    assert "easy to guess" in told.stderr
    assert "password1" not in told.stderr


def test_a_weak_passphrase_is_asked_about_and_a_code_is_drawn(computer: Computer) -> None:
    argv = computer.command("phonevault.cli.main", "slot", "add", computer.vault, *by_code(computer))
    with OnTerminal([*argv, "--passphrase"], computer.environment) as screen:
        for prompt in ("New passphrase: ", "Once more: "):
            screen.wait_for(prompt)
            screen.answer("qwertyuiop")
        screen.wait_for(r"Take it all the same\? \[y/N\]")
        screen.answer("n")
        assert screen.wait() == 5
    assert "qwertyuiop" not in screen.screen
    with OnTerminal([*argv, "--passphrase"], computer.environment) as screen:
        screen.wait_for("New passphrase: ")
        screen.answer(GOOD)
        screen.wait_for("Once more: ")
        screen.answer(GOOD + "!")
        assert screen.wait() == 5
    assert len(slots(computer)) == 2
    with OnTerminal([*argv, "--recovery"], computer.environment) as screen:
        code = screen.wait_for(r"(?m)^ +((?:[0-9A-Z]{4}-){8}[0-9A-Z]{4})$")[1]
        screen.wait_for("Recovery code: ")
        assert len(slots(computer)) == 2  # not before the code came back
        screen.answer(code)
        assert screen.wait() == 0
    assert re.search("[█▀▄]{20}", screen.screen)
    computer.run("slot", "test", computer.vault, "--recovery-file", "-", input=code)


def test_a_lost_header_comes_back_and_an_old_one_is_asked_about(computer: Computer) -> None:
    backup = computer.root / "backup"
    computer.run("header", "backup", computer.vault, backup)
    computer.run("header", "backup", computer.vault, backup, code=6)
    computer.run("slot", "remove", computer.vault, 0, *by_code(computer))
    refused = computer.run("header", "restore", computer.vault, backup, *by_code(computer), code=3)
    assert "older" in refused.stderr
    assert slots(computer) == [(1, "recovery")]
    computer.run("header", "restore", computer.vault, backup, "--yes", *by_code(computer))
    assert slots(computer) == [(0, "phone"), (1, "recovery")]
    for name in (store.MAIN, store.BACKUP):
        (computer.vault / name).write_bytes(b"rot")
    assert "header restore" in computer.run("info", computer.vault, code=11).stderr
    computer.run("header", "restore", computer.vault, backup, *by_code(computer))
    computer.run("slot", "test", computer.vault, *by_code(computer))


def test_the_header_of_another_vault_is_refused(computer: Computer) -> None:
    other, backup = computer.root / "other", computer.root / "backup"
    computer.run(
        "create", other, "--no-phone", "--single-slot", "--recovery-file", computer.root / "other-code"
    )
    computer.run("header", "backup", other, backup)
    computer.run("header", "restore", computer.vault, backup, *by_code(computer), code=19)
    computer.run("header", "restore", computer.vault, computer.code_file, *by_code(computer), code=11)
    computer.run("slot", "test", computer.vault, *by_code(computer))


@pytest.mark.mount
@pytest.mark.anyone
def test_a_phone_and_a_passphrase_together(computer: Computer) -> None:
    need_fuse()
    secret, wrong = write(computer, "p", GOOD), write(computer, "w", GOOD + "?")
    computer.start_phone()
    both = ("--new-phone", "pocket", "--new-passphrase-file", secret)
    added = computer.run("slot", "add", computer.vault, *both, *by_code(computer))
    assert added.stdout == "added slot 2 (phone+passphrase: pocket and a passphrase)\n"
    computer.run("slot", "remove", computer.vault, 0, *by_code(computer))
    computer.run("slot", "test", computer.vault, "--passphrase-file", secret, code=14)
    computer.run("slot", "test", computer.vault, "--phone", "pocket", "--passphrase-file", wrong, code=14)
    computer.run("mount", computer.vault, computer.place, "--phone", "pocket", code=5)  # nobody to ask
    computer.mount("--phone", "pocket", "--passphrase-file", secret, "--grace", 0)
    assert computer.status()["method"] == "phone+passphrase"
    (computer.place / "file").write_text("both")
    computer.stop_phone()
    computer.wait_for("locked")
    computer.start_phone()
    computer.run("unlock", computer.place, "--passphrase-file", wrong, code=14)
    assert computer.status()["state"] == "locked"
    computer.run("unlock", computer.place, "--passphrase-file", secret)
    assert (computer.place / "file").read_text() == "both"
    assert computer.status()["bound_to_phone"]
    computer.run("unmount", computer.place)
