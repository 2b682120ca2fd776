"""`phonevault create`: two ways in that have opened the vault, or one that was asked for by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.computer import Computer

from phonevault.cli import recovery_output
from phonevault.errors import OutputFileError

GOOD = "four random words: orbit velvet quarry lantern"
CODE = "0123-4567-89AB-CDEF-GHJK-MNPQ-RSTV-WXYZ-0000"


def kinds(computer: Computer, vault: Path) -> list[str]:
    return [slot["kind"] for slot in json.loads(computer.run("slot", "list", vault, "--json").stdout)]


def passphrase(computer: Computer) -> Path:
    path = computer.root / "p"
    path.write_text(GOOD)
    return path


def test_a_vault_with_one_way_in_is_refused_with_the_option_that_allows_it(fresh: Computer) -> None:
    said = fresh.run("create", fresh.vault, "--no-phone", "--recovery-file", fresh.code_file, code=3).stderr
    assert "the only way" in said
    assert "--single-slot" in said
    assert not fresh.vault.exists()
    assert not fresh.code_file.exists()


def test_one_way_in_of_each_kind(computer: Computer) -> None:
    computer.start_phone()
    root, single = computer.root, "--single-slot"
    made = computer.run("create", root / "a", single)
    assert "opened by the phone pocket\n" in made.stdout
    assert "one way in" in made.stderr
    computer.run("create", root / "b", "--no-phone", single, "--passphrase-file", passphrase(computer))
    computer.run("create", root / "c", "--no-phone", single, "--recovery-file", root / "c code")
    assert [kinds(computer, root / name) for name in "abc"] == [["phone"], ["passphrase"], ["recovery"]]


def test_several_ways_are_not_one(computer: Computer) -> None:
    new, out = computer.root / "new", computer.root / "out"
    given = ("--passphrase-file", passphrase(computer))
    for words in (given, (*given, "--no-phone", "--recovery-file", out), ("--recovery-file", out)):
        assert "several" in computer.run("create", new, "--single-slot", *words, code=3).stderr
    assert not new.exists()
    assert not out.exists()


def test_two_ways_have_opened_the_vault(computer: Computer) -> None:
    """The phone says what it was asked; the code is read from the file again (below)."""
    computer.start_phone()
    new, out = computer.root / "new", computer.root / "out"
    computer.run("create", new, "--recovery-file", out)
    computer.stop_phone()
    assert kinds(computer, new) == ["phone", "recovery"]
    assert "make the folder new" in computer.run_phone("log", computer.store).stdout
    computer.run("slot", "test", new, "--recovery-file", out)


@pytest.mark.parametrize("held", ["", "\n", CODE[:-1] + "\n", CODE.replace("WXYZ", "WXYY"), "x" * 300])
def test_a_file_that_does_not_hold_the_code_is_found(tmp_path: Path, held: str) -> None:
    file = tmp_path / "code"
    file.write_text(held)
    with pytest.raises(OutputFileError, match="does not hold"):
        recovery_output.code_back(CODE, str(file))


def test_the_code_comes_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "code"
    file.write_text(CODE.lower() + "\n")
    assert recovery_output.code_back(CODE, str(file)) == CODE.lower().encode()
