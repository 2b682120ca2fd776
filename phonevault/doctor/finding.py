"""What a check comes to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Status(StrEnum):
    """How it stands. Only PROBLEM makes the command fail."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        check: What was looked at; stable, for scripts.
        status: How it stands.
        found: What was seen, one line.
        advice: What to do about it, one line, or empty.
    """

    check: str
    status: Status
    found: str
    advice: str = ""

    def as_json(self) -> dict[str, str]:
        """For `--json`."""
        return {**asdict(self), "status": self.status.value}


def fine(check: str, found: str, advice: str = "") -> Finding:
    """As it should be."""
    return Finding(check, Status.OK, found, advice)


def warning(check: str, found: str, advice: str) -> Finding:
    """Works, but less safely or less well than it could."""
    return Finding(check, Status.WARNING, found, advice)


def problem(check: str, found: str, advice: str) -> Finding:
    """Does not work before something is done."""
    return Finding(check, Status.PROBLEM, found, advice)


def not_applicable(check: str, found: str) -> Finding:
    """Has no meaning here."""
    return Finding(check, Status.NOT_APPLICABLE, found)
