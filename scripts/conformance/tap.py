"""Reads the output of a test program in the Test Anything Protocol."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PLAN = re.compile(r"1\.\.(\d+)")
_RESULT = re.compile(r"(not )?ok\b\s*(\d+)?\s*(.*)")


@dataclass(frozen=True)
class Outcome:
    """What one test program said.

    Attributes:
        planned: how many checks it announced; None if it announced none.
        passed: checks that passed, those marked TODO that failed included (the suite expects that).
        failed: number of each other failed check, and what was said of it.
    """

    planned: int | None
    passed: int
    failed: dict[int, str]

    @property
    def missing(self) -> int:
        """Checks that were announced and did not report."""
        return max((self.planned or 0) - self.passed - len(self.failed), 0)


def read(output: str) -> Outcome:
    """The outcome of a whole run."""
    planned, passed, failed, number = None, 0, {}, 0
    for line in output.splitlines():
        if plan := _PLAN.match(line):
            planned = int(plan[1])
        elif result := _RESULT.match(line):
            number = int(result[2] or number + 1)
            if result[1] and "# TODO" not in result[3]:
                failed[number] = result[3].removeprefix("- ")
            else:
                passed += 1
    return Outcome(planned, passed, failed)
