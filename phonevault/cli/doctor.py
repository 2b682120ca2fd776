"""`phonevault doctor`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from phonevault.cli import phones
from phonevault.cli.output import printable, say, show_json, show_table
from phonevault.errors import ProblemsFound, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from phone_link.host.phone_book import PairedPhone
    from phone_link.host.session import PhoneSession
    from phonevault.doctor.finding import Finding
    from phonevault.doctor.run import Check

BLUEZ_SCHEME = "bluetooth:"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option(
    "--phone", "phone_name", metavar="NAME", help="Try only this phone; that it is away is a problem then."
)
def doctor(as_json: bool, phone_name: str | None) -> None:
    """Look whether this computer has what phonevault needs, and whether the paired phones answer.

    Nothing is changed; a trial mount is made in a new directory and taken away again. A folder that is mounted is
    not touched. Ends with code 60 if there is a problem.
    """
    from phonevault.doctor import computer
    from phonevault.doctor.finding import Status
    from phonevault.doctor.run import run

    paired, unreadable = _paired(phone_name)
    needed = any(phone.spec.startswith(BLUEZ_SCHEME) for phone in paired)
    checks = [*computer.checks(needed), *_phone_checks(paired, wanted=phone_name is not None)]
    findings = [*run(checks), *unreadable]
    if as_json:
        show_json([finding.as_json() for finding in findings])
    else:
        _show(findings)
    problems = [finding.check for finding in findings if finding.status is Status.PROBLEM]
    if problems:
        raise ProblemsFound(f"{_count(len(problems))}: {printable(', '.join(problems))}")
    if not as_json:
        say("no problem found")


def _show(findings: list[Finding]) -> None:
    """Four columns for scripts; on a terminal, which is narrow, the advice stands below what was found."""
    if not sys.stdout.isatty():
        show_table((), [(one.check, one.status.value, one.found, one.advice) for one in findings])
        return
    rows: list[tuple[str, str, str]] = []
    for one in findings:
        rows.append((one.check, one.status.value, one.found))
        if one.advice:
            rows.append(("", "", f"→ {one.advice}"))
    show_table(("check", "status", "found"), rows, prose=True)


def _count(number: int) -> str:
    return "one problem" if number == 1 else f"{number} problems"


def _paired(name: str | None) -> tuple[list[PairedPhone], list[Finding]]:
    """The phones to try; a book that cannot be read is a finding.

    Raises:
        UnknownPhone: No phone has this name.
    """
    from phone_link.errors import LinkError, UnknownPhone
    from phonevault.doctor.finding import problem

    try:
        book = phones.phone_book()
        return ([book.get(name)] if name is not None else book.list()), []
    except UnknownPhone:
        raise
    except LinkError as error:
        return [], [problem("paired-phones", str(error), error.hint)]


def _phone_checks(paired: list[PairedPhone], *, wanted: bool) -> list[Check]:
    return [_phone_check(phone, wanted) for phone in paired]


def _mounts_by_phone() -> dict[str, str]:
    """Mount points of this user by the phone that holds them open."""
    from phonevault.daemon.client import find_mounts
    from phonevault.paths import runtime_path

    if not runtime_path().exists():
        return {}
    try:
        return {
            str(phone["name"]): mount.mountpoint
            for mount in find_mounts()
            for phone in mount.status.get("phones", [])
        }
    except SettingsError:  # not private: the check of the directories says so
        return {}


def _phone_check(paired: PairedPhone, wanted: bool) -> Check:
    from phonevault.doctor import phones as phone_checks
    from phonevault.doctor.run import Check

    def look() -> list[Finding]:
        # Asked here, where it has its time: a mount's daemon may not answer.
        mount = _mounts_by_phone().get(paired.name)
        return phone_checks.look(
            phone_checks.Phone(paired.name, paired.spec, _connector(paired), wanted, mount)
        )

    return Check(f"phone {paired.name}", look, phone_checks.LIMIT_S)


def _connector(paired: PairedPhone) -> Callable[[float], PhoneSession]:
    """Reads this computer's key only when it connects: a directory that is not private is then a finding."""
    return lambda timeout_s: phones.connector(paired)(timeout_s)
