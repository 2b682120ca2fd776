"""docs/exit-codes.md names exactly the codes that the two commands use."""

from __future__ import annotations

import re
from pathlib import Path

from phone_link.phone import exit_codes
from phonevault import errors

PAGE = Path(__file__).resolve().parent.parent / "docs" / "exit-codes.md"


def codes_under(heading: str) -> list[int]:
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)]


def test_codes_of_phonevault() -> None:
    general = {
        errors.EXIT_OK,
        errors.EXIT_BUG,
        errors.EXIT_USAGE,
        errors.EXIT_ERROR,
        errors.EXIT_OS_ERROR,
        errors.EXIT_REPAIRED,
        errors.EXIT_INTERRUPTED,
    }
    assert codes_under("phonevault") == sorted(general | set(errors.EXIT_CODES.values()))


def test_codes_of_phonevault_phone() -> None:
    general = {0, exit_codes.OTHER_FAILURE, exit_codes.INTERRUPTED}
    assert codes_under("phonevault-phone") == sorted(general | {code for _, code, _ in exit_codes.EXIT_CODES})
