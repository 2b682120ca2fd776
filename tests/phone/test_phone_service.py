"""The systemd user service: its text, and what systemd says of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.needs import NOT_APPLICABLE
from support.phone_bench import make_store, program

from phone_link.errors import SpecError
from phone_link.phone import exit_codes
from phone_link.phone.service_unit import quoted, unit


def verify(directory: Path, text: str) -> str:
    """What `systemd-analyze verify` complains about."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip(NOT_APPLICABLE + "no systemd here")
    file = directory / "phonevault-phone.service"
    file.write_text(text)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(directory), "HOME": str(directory)}
    result = subprocess.run(
        ["systemd-analyze", "--user", "verify", "--man=no", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    return result.stdout + result.stderr if result.returncode else result.stderr


@pytest.mark.parametrize("name", ["store", "my phone", "50% of $HOME", 'a "quoted" \\ one'])
def test_systemd_accepts_it_whatever_the_path(tmp_path: Path, name: str) -> None:
    store = tmp_path / name
    make_store(store)
    pin = tmp_path / f"{name} pin"
    result = program("service", store, "--listen", "bluetooth:", "--pin-file", pin)
    assert result.returncode == 0, result.stderr
    complaints = verify(tmp_path, result.stdout)
    assert "phonevault-phone.service" not in complaints, complaints


def test_systemd_would_complain(tmp_path: Path) -> None:
    """The check above can fail."""
    text = unit(["/nowhere/phonevault-phone"], tmp_path, "bluetooth:", None)
    assert "phonevault-phone.service" in verify(tmp_path, text)
    assert "phonevault-phone.service" in verify(tmp_path, text.replace("Type=exec", "Typ=exec"))


def test_the_command_line_is_that_of_serve(tmp_path: Path) -> None:
    text = unit(["/bin/p"], Path("/s"), "bluetooth:", Path("/a 100%/pin"))
    assert (
        'ExecStart="/bin/p" "serve" "/s" "--listen" "bluetooth:" "--approve" "auto" --pin-file %d/pin\n'
        in text
    )
    assert "\nLoadCredential=pin:/a 100%%/pin\n" in text
    without = unit(["/bin/p"], Path("/s"), "bluetooth:", None)
    assert "pin" not in without.replace("/bin/p", "")


def test_no_restart_that_costs_a_try_of_the_pin() -> None:
    found = re.search(r"RestartPreventExitStatus=(.*)", unit(["/p"], Path("/s"), "unix:/x", None))
    assert found
    never = {int(code) for code in found[1].split()}
    by_name = {
        kind.__name__: code
        for kinds, code, _ in exit_codes.EXIT_CODES
        for kind in (kinds if isinstance(kinds, tuple) else (kinds,))
    }
    assert {by_name["PinIncorrect"], by_name["PinLocked"], by_name["StoreDamaged"]} <= never
    assert by_name["CannotListen"] not in never
    assert exit_codes.OTHER_FAILURE not in never


def test_words_are_quoted() -> None:
    assert quoted('a"b\\c$d%e') == '"a\\"b\\\\c$$d%%e"'
    with pytest.raises(SpecError):
        quoted("two\nlines")


def test_a_malformed_spec(tmp_path: Path) -> None:
    make_store(tmp_path / "store")
    assert program("service", tmp_path / "store", "--listen", "smoke:signals").returncode == 2


def test_there_must_be_a_store(tmp_path: Path) -> None:
    assert program("service", tmp_path / "no", "--listen", "bluetooth:").returncode == 3
