"""What is printed of names, paths and labels from outside: never a steered terminal, never a failure."""

from __future__ import annotations

import json
import os
import re

import pytest
from support.computer import Computer

from phonevault.cli import output

HOSTILE = "a\x1b[31m\x9b2J\u202eb\udcff\ud800\r"


@pytest.mark.parametrize("tell", [output.say, output.note, output.warn, output.show_error])
def test_nothing_from_outside_steers_a_terminal(tell: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(tell)
    tell(f"kept\tas\nit is: ü 電 {HOSTILE}")
    told = "".join(capsys.readouterr())
    assert "kept\tas\nit is: ü 電 a�[31m�2J�b���\n" in told


def test_json_keeps_every_value_and_is_printable(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"path": HOSTILE, "wide": "\U000e0001 ü", "list": [1, True, None]}
    output.show_json(value)
    shown = capsys.readouterr().out
    assert json.loads(shown) == value
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert "ü" in shown


@pytest.mark.parametrize("columns", [20, 60, 200])
def test_no_cell_of_a_table_is_broken(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    path = f"/home/somebody/{'a long name ' * 6}電/v[bold]"
    output.show_table(("folder", "state", ""), [(path, "locked", "by user"), ("/short", "dead", "")])
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    lines = [line.rstrip() for line in shown.splitlines()]
    if columns == 200:
        assert lines[1].split() == ["folder", "state"]
        assert any(re.match(rf" *{re.escape(path)} +locked", line) for line in lines)
    else:
        assert lines == [
            f"folder  {path}",
            "state   locked",
            "        by user",
            "",
            "folder  /short",
            "state   dead",
        ]


def test_a_path_that_is_no_text_where_the_locale_is_strict(computer: Computer) -> None:
    """As with LANG=en_US.UTF-8: Python's output then refuses what is no text."""
    computer.environment["PYTHONIOENCODING"] = "utf-8:strict"
    odd = computer.root / os.fsdecode(b"v\xff\x1b[31m")
    computer.vault.rename(odd)
    tested = computer.run("slot", "test", odd, "--recovery-file", computer.code_file)
    assert tested.stdout.startswith("slot 1 (recovery: recovery code) opens ") and "\x1b" not in tested.stdout
    assert json.loads(computer.run("info", odd, "--json").stdout)["vault"] == str(odd)
    assert computer.run("info", odd).stdout.startswith("vault       ")
