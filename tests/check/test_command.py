"""`phonevault check` end to end: its exit codes, its lines, its JSON, its locks, and what a repair of a whole vault leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.computer import Computer, snapshot
from support.needs import need_fuse
from support.read_only_store import read_only_store
from support.terminal import OnTerminal

from keyslots import store
from keyslots.derive import header_key
from keyslots.store import BACKUP, MAIN
from phonevault.check.findings import KINDS, Code
from phonevault.openers import RecoveryOpener
from phonevault.vault import open_vault

CIPHERS = ["aes-256-gcm", "aes-256-xts"]
FOREIGN = "\x1b[31mred"


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Computer]:
    """A vault that a recovery code opens."""
    computer = Computer(tmp_path_factory.mktemp("pattern"))
    try:
        computer.run(
            "create", computer.vault, "--no-phone", "--single-slot", "--recovery-file", computer.code_file
        )
        yield computer
    finally:
        computer.close()


@pytest.fixture
def computer(pattern: Computer, tmp_path: Path) -> Iterator[Computer]:
    root = tmp_path / "c"
    shutil.copytree(pattern.root, root)
    copy = Computer(root)
    try:
        yield copy
    finally:
        copy.close()


def check(computer: Computer, *options: object, code: int = 0) -> str:
    way = ("--recovery-file", computer.code_file)
    done = computer.run("check", computer.vault, *way, *options, code=code)
    return done.stdout


def report(computer: Computer, *options: object, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(check(computer, "--json", *options, code=code))
    assert found["counts"]["problems"] + found["counts"]["notes"] == len(found["findings"])
    return found


def codes(found: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in found["findings"]]


def test_a_new_vault_is_whole_and_nothing_is_changed(computer: Computer) -> None:
    before = snapshot(computer.vault)
    assert check(computer).startswith("0 problems, 0 notes: 1 directory, 0 files")
    found = report(computer)
    assert (found["clean"], found["integrity"], found["cipher"]) == (True, True, "aes-256-gcm")
    assert found["counts"]["directories"] == 1 and found["findings"] == []
    assert report(computer, "--repair")["clean"]
    assert snapshot(computer.vault) == before


def test_xts_says_that_contents_cannot_be_checked(computer: Computer) -> None:
    shutil.rmtree(computer.vault)
    computer.code_file.unlink()
    computer.run(
        "create",
        computer.vault,
        "--no-phone",
        "--single-slot",
        "--recovery-file",
        computer.code_file,
        "--cipher",
        "aes-256-xts",
    )
    assert "no integrity" in check(computer)
    assert report(computer)["integrity"] is False


@pytest.mark.parametrize("copy", [MAIN, BACKUP])
@pytest.mark.parametrize("gone", [True, False], ids=["missing", "damaged"])
def test_a_bad_copy_of_the_header_is_written_anew(computer: Computer, copy: str, gone: bool) -> None:
    path = computer.vault / copy
    sound = path.read_bytes()
    path.unlink() if gone else path.write_bytes(sound[:-1])
    expected = "header-copy-missing" if gone else "header-copy-damaged"
    assert codes(report(computer, code=70)) == [expected]
    found = report(computer, "--repair", code=71)
    assert codes(found) == [expected] and found["findings"][0]["repaired"]
    assert path.read_bytes() == sound
    assert report(computer)["clean"]


def test_copies_of_two_generations(computer: Computer) -> None:
    before = (computer.vault / MAIN).read_bytes()

    def write_again() -> None:
        opener = RecoveryOpener(computer.code_file.read_text())
        opened = open_vault(computer.vault, opener)
        with header_key(opened.vmk, opened.header.vault_id) as key:
            store.save(computer.vault, opened.header, key)
        opened.wipe()
        opener.wipe()

    write_again()
    (computer.vault / MAIN).write_bytes(before)
    found = report(computer)
    assert codes(found) == ["header-copies-differ"] and found["clean"]
    assert report(computer, "--repair")["counts"]["repaired"] == 1
    assert (computer.vault / BACKUP).read_bytes() == before
    # Further apart than an interruption leaves them: one was put back, and which is right cannot be known.
    write_again()
    write_again()
    (computer.vault / MAIN).write_bytes(before)
    assert codes(report(computer, "--repair", code=70)) == ["header-copy-old"]


def test_what_lies_beside_the_tree(computer: Computer) -> None:
    (computer.vault / "phonevault.tmp.0123456789abcdef").write_bytes(b"half a header")
    (computer.vault / "phonevault.tmp.fedcba9876543210").mkdir()
    (computer.vault / "README").write_text("mine")
    (computer.vault / "journal").mkdir()
    (computer.vault / "journal" / "0123456789abcdef").write_bytes(b"no journal")
    found = report(computer)
    assert codes(found) == ["foreign", "journal-useless", "leftover", "leftover"] and found["clean"]
    report(computer, "--repair")
    assert codes(report(computer)) == ["foreign"]


def test_a_lost_root_id_is_no_hindrance(computer: Computer) -> None:
    (computer.vault / "tree" / "phonevault.dirid").write_bytes(b"rotten")
    (computer.vault / "tree" / ("A" * 40)).write_bytes(b"")
    assert codes(report(computer, code=70)) == ["directory-id-damaged"]
    assert codes(report(computer, "--repair", code=71)) == ["directory-id-damaged"]
    found = report(computer)
    assert found["clean"] and found["counts"]["directories"] == 2 and found["counts"]["files"] == 1


def test_lines_are_fit_for_a_terminal(computer: Computer) -> None:
    (computer.vault / "tree" / FOREIGN).touch()
    out = check(computer)
    assert "note: foreign:" in out and "\x1b" not in out
    found = report(computer)
    assert found["findings"][0]["stored"] == f"tree/{FOREIGN}"
    os.rename(os.fsencode(computer.vault / "tree" / FOREIGN), os.fsencode(computer.vault / "tree") + b"/\xff")
    assert report(computer)["findings"][0]["stored"] == "tree/\\xff"
    check(computer)


def test_on_a_terminal(computer: Computer) -> None:
    (computer.vault / "tree" / "README").touch()
    argv = computer.command(
        "phonevault.cli.main", "check", computer.vault, "--recovery-file", computer.code_file
    )
    with OnTerminal(argv, computer.environment) as program:
        program.wait_for("0 problems, 1 note")
        assert "note: foreign" in program.screen


@pytest.mark.mount
@pytest.mark.parametrize(
    "options", [(), ("--shared",), ("--read-only",)], ids=["alone", "shared", "read-only"]
)
def test_a_mounted_vault(computer: Computer, options: tuple[str, ...]) -> None:
    need_fuse()
    computer.mount("--recovery-file", computer.code_file, *options)
    before = snapshot(computer.vault)
    refused = computer.run(
        "check", computer.vault, "--recovery-file", computer.code_file, "--repair", code=22
    ).stderr
    assert str(computer.place) in refused and "unmount it first" in refused
    if options:
        done = computer.run("check", computer.vault, "--recovery-file", computer.code_file)
        assert "warning: the vault is mounted" in done.stderr
    else:
        check(computer, code=22)
    assert snapshot(computer.vault) == before
    computer.run("unmount", computer.place)
    assert report(computer)["findings"] == []


def test_errors_before_the_check(computer: Computer) -> None:
    computer.run("check", computer.root / "nothing", code=10)
    computer.run("check", computer.vault, "--phone", "x", "--recovery-file", "y", code=2)
    wrong = computer.root / "wrong"
    wrong.write_text("correct horse battery staple")
    computer.run("check", computer.vault, "--passphrase-file", wrong, code=14)
    shutil.rmtree(computer.vault / "tree")
    assert (
        "tree" in computer.run("check", computer.vault, "--recovery-file", computer.code_file, code=4).stderr
    )


@pytest.mark.mount
def test_a_read_only_store(computer: Computer) -> None:
    (computer.vault / "tree" / "phonevault.tmp.0123456789abcdef").touch()
    with read_only_store(computer.vault):
        assert codes(report(computer)) == ["leftover"]
        found = report(computer, "--repair")
        assert found["findings"][0]["failed"] == "Read-only file system"


def test_ctrl_c_ends_it_cleanly(computer: Computer) -> None:
    tree = computer.vault / "tree"
    for number in range(20_000):
        (tree / f"x.{number}").touch()
    program = computer.start("check", computer.vault, "--recovery-file", computer.code_file)
    assert program.stdout is not None
    assert program.stdout.readline().startswith("note: foreign")
    program.send_signal(signal.SIGINT)
    output, _ = program.communicate(timeout=60)
    assert output.splitlines()[-1] == "error: interrupted"
    assert program.returncode == 130


def test_every_code_is_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "check.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{code}` | {KINDS[code].severity} | {KINDS[code].what} | {KINDS[code].repair} |".replace(
            "|  |", "| |"
        )
        for code in Code
    ]
