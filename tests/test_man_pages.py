"""The manual pages say what `--help` says, and man can set them."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import click
import pytest
from man_main import PAGES, PROGRAMS, commands, page

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_page_is_what_the_program_says_now(name: str) -> None:
    assert (PAGES / f"{name}.1").read_text("utf-8") == page(name), "run scripts/man"


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_command_has_its_section_and_every_option_a_description(name: str) -> None:
    group, _ = PROGRAMS[name]
    written = page(name).replace("\\-", "-")
    context = click.Context(group, info_name=name)
    found = list(commands(group, context))
    assert len(found) >= 9
    for command, inner in found:
        assert f".SS {inner.command_path} " in written
        for parameter in command.get_params(inner):
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{inner.command_path} {parameter.opts}"


def test_the_package_installs_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    installed = project["tool"]["setuptools"]["data-files"]["share/man/man1"]
    assert sorted(installed) == sorted(f"man/{name}.1" for name in PROGRAMS)


@pytest.mark.skipif(shutil.which("groff") is None, reason="not applicable: no groff here")
@pytest.mark.parametrize("name", PROGRAMS)
def test_groff_has_nothing_to_say(name: str) -> None:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-Kutf8", "-z", PAGES / f"{name}.1"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
