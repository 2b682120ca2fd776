"""`phonevault check`."""

from __future__ import annotations

import fcntl
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phonevault.cli.holding import hold_or_say_where
from phonevault.cli.info import NO_INTEGRITY
from phonevault.cli.opening import check_one_way, opened_vault, opening_options
from phonevault.cli.output import counted, printable, say, show_json, warn
from phonevault.cli.progress import Rate, rate_shown
from phonevault.cli.where import Given, vault_argument
from phonevault.errors import EXIT_REPAIRED, VaultInUse, VaultNotWhole

if TYPE_CHECKING:
    from keyslots.place import Place
    from phonevault.check.findings import Counts, Finding
    from phonevault.vault import OpenedVault

_UNMOUNT_HINT = "unmount it first: `phonevault unmount MOUNTPOINT`"


@click.command()
@vault_argument
@opening_options
@click.option(
    "--repair", is_flag=True, help="Mend what can be mended without guessing; nothing is lost by it."
)
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
def check(
    vault: Given,
    phone_names: tuple[str, ...],
    passphrase_file: str | None,
    recovery_file: str | None,
    repair: bool,
    as_json: bool,
) -> None:
    """Look whether VAULT is whole: header, names, directories, links, and every block of every file.

    The vault must not be mounted. Without --repair nothing is changed. With it leftovers are removed, a bad copy of
    the header is written anew, and what lost its name goes into the folder lost+found of the vault. Damaged
    files stay where they are: what is sound of them can still be read. AES-256-XTS has no integrity: its
    contents cannot be checked.
    """
    from phonevault.daemon.places import check_cipher

    check_one_way(phone_names, passphrase_file, recovery_file)
    _check_is_vault(vault.place)
    # What is read is told as findings, not as the log of a mount.
    logging.getLogger("phonevault.fs").addHandler(logging.NullHandler())
    logging.getLogger("phonevault.fs").propagate = False
    tree_fd = _hold(vault.path, repair=repair)
    try:
        with opened_vault(vault.place, phone_names, passphrase_file, recovery_file) as opened:
            check_cipher(opened.header.cipher)
            counts = _run(opened, tree_fd, repair=repair, as_json=as_json)
    finally:
        os.close(tree_fd)
    _end(counts, repair=repair)


def _check_is_vault(place: Place) -> None:
    """Say that it is no vault before saying that it has no tree."""
    from keyslots.store import load

    load(place)


def _hold(path: Path, *, repair: bool) -> int:
    """Lock the tree; without a repair also beside mounts that share it, which is told."""
    if repair:
        return hold_or_say_where(path, shared=False, hint=_UNMOUNT_HINT)
    try:
        descriptor = hold_or_say_where(path, shared=False)
    except VaultInUse:
        descriptor = hold_or_say_where(path, shared=True, hint=_UNMOUNT_HINT)
        warn("the vault is mounted (--shared or --read-only): what changes meanwhile may be found as damage")
        return descriptor
    with suppress(OSError):  # where a directory cannot be locked, nothing is held
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _run(opened: OpenedVault, tree_fd: int, *, repair: bool, as_json: bool) -> Counts:
    from phonevault.check.findings import Counts
    from phonevault.check.vault import VaultCheck

    counts = Counts()
    findings: list[dict[str, Any]] = []

    def report(finding: Finding) -> None:
        if as_json:
            findings.append(finding_json(finding))
        else:
            say(finding_line(finding))

    with rate_shown("checking", lambda: (counts.files, counts.bytes_read)) as rate:
        VaultCheck(
            opened.place,
            opened.header,
            opened.vmks,
            tree_fd,
            report,
            repair=repair,
            progress=rate,
            counts=counts,
        ).run()
    if as_json:
        show_json(_as_json(opened, counts, findings, rate, repair=repair))
    else:
        _summary(opened.header.cipher, counts, rate)
    return counts


def finding_line(finding: Finding) -> str:
    """A finding on one line, fit for a terminal."""
    kind = finding.kind
    where = f" {printable(os.fsdecode(finding.path))}" if finding.path is not None else ""
    detail = f" ({printable(finding.detail)})" if finding.detail else ""
    if finding.repaired:
        todo = f"repaired: {printable(finding.repaired)}"
    elif finding.failed:
        todo = f"not repaired: {printable(finding.failed)}"
    else:
        todo = f"to do: {kind.advice}"
    stored = printable(finding.stored)
    return f"{finding.severity}: {finding.code}:{where} [{stored}]: {kind.what}{detail}; {todo}"


def finding_json(finding: Finding) -> dict[str, Any]:
    """A finding for `--json` (docs/check.md)."""
    return {
        "code": str(finding.code),
        "severity": str(finding.severity),
        "path": None if finding.path is None else _text(finding.path),
        "stored": _text(os.fsencode(finding.stored)),
        "what": finding.kind.what,
        "detail": finding.detail,
        "advice": finding.kind.advice,
        "repaired": finding.repaired,
        "failed": finding.failed,
    }


def _text(raw: bytes) -> str:
    """Bytes as JSON can carry them, escaped where they are not UTF-8."""
    return raw.decode("utf-8", "backslashreplace")


def _as_json(
    opened: OpenedVault, counts: Counts, findings: list[dict[str, Any]], rate: Rate, *, repair: bool
) -> dict[str, Any]:
    return {
        "vault": str(opened.path),
        "vault_id": opened.header.vault_id.hex(),
        "cipher": opened.header.cipher,
        "integrity": opened.header.cipher != NO_INTEGRITY,
        "repair": repair,
        "clean": counts.problems == 0,
        "seconds": round(rate.seconds, 3),
        "counts": {
            "files": counts.files,
            "directories": counts.directories,
            "links": counts.links,
            "others": counts.others,
            "bytes": counts.bytes_read,
            "notes": counts.notes,
            "problems": counts.problems,
            "problems_left": counts.problems_left,
            "repaired": counts.repaired,
        },
        "findings": sorted(findings, key=lambda finding: (finding["stored"], finding["code"])),
    }


def _summary(cipher: str, counts: Counts, rate: Rate) -> None:
    if cipher == NO_INTEGRITY:
        say(f"{cipher} has no integrity: whether contents were changed cannot be checked")
    found = f"{counted(counts.problems, 'problem')}, {counted(counts.notes, 'note')}"
    repaired = f", {counts.repaired} repaired" if counts.repaired else ""
    say(f"{found}{repaired}: {counted(counts.directories, 'directory', 'directories')}, {rate.text()}")


def _end(counts: Counts, *, repair: bool) -> None:
    """End with the exit code of docs/check.md."""
    if counts.problems_left:
        how = f" of {counts.problems}, the others are repaired" if repair and counts.repaired else ""
        left = "left" if repair else "found"
        hint = (
            "each finding says what to do" if repair else "each finding says what to do; --repair mends some"
        )
        raise VaultNotWhole(f"{counted(counts.problems_left, 'problem')} {left}{how}", hint)
    if counts.problems:
        raise click.exceptions.Exit(EXIT_REPAIRED)
