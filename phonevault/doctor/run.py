"""Runs checks, each within its time: a check that hangs or is refused by the machine says so and stops nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from phonevault.doctor.finding import Finding, warning


@dataclass(frozen=True)
class Check:
    """One thing to look at.

    Attributes:
        name: Shown if it cannot be looked at.
        look: Observes and judges.
        limit_s: How many seconds it may take.
    """

    name: str
    look: Callable[[], list[Finding]]
    limit_s: float = 3.0


def run(checks: Iterable[Check]) -> Iterator[Finding]:
    """Yield the findings of each check in turn.

    An `OSError` is the machine's answer and becomes a warning; any other exception is a bug and is raised.
    """
    for check in checks:
        yield from _within_time(check)


def _within_time(check: Check) -> list[Finding]:
    """Look in a thread of its own, which is left behind if it does not come back (it ends with the process)."""
    found: list[Finding] = []
    failure: list[BaseException] = []

    def look() -> None:
        try:
            found.extend(check.look())
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread, see below
            failure.append(error)

    thread = threading.Thread(target=look, name=f"doctor {check.name}", daemon=True)
    thread.start()
    thread.join(check.limit_s)
    if thread.is_alive():
        text = f"no answer within {check.limit_s:g} s"
        return [warning(check.name, text, "it hangs: look at it by hand")]
    if not failure:
        return found
    if isinstance(failure[0], OSError):
        return [_refused(check.name, failure[0])]
    raise failure[0]


def _refused(name: str, error: OSError) -> Finding:
    where = f"{error.filename}: " if error.filename is not None else ""
    reason = error.strerror or type(error).__name__
    return warning(name, f"cannot be looked at: {where}{reason}", "look at it by hand")
