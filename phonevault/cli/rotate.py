"""`phonevault rotate slot|master|content`: changing keys."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from phonevault.cli.opening import opened_vault, opening_options
from phonevault.cli.output import note, printable, say, warn
from phonevault.cli.where import Given, vault_argument
from phonevault.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from phonevault import rotation
    from phonevault.fs.rewrap import Rewrap
    from phonevault.fs.rotation.run import Reencrypt
    from phonevault.vault import OpenedVault

    Run = Rewrap | Reencrypt

_REPORT_S = 5.0
_REDRAW_S = 0.2
_MEGA = 1_000_000


@click.group()
def rotate() -> None:
    """Change keys: a slot's secret, the volume key, everything."""


@rotate.command("slot", short_help="Give slots of VAULT a fresh secret.")
@vault_argument
@click.argument("slot_id", type=click.IntRange(0, 31), metavar="[SLOT]", required=False)
@opening_options
def rotate_slot(
    vault: Given,
    slot_id: int | None,
    phone_name: str | None,
    passphrase_file: str | None,
    recovery_file: str | None,
) -> None:
    """Give SLOT of VAULT (every slot, if left out) a fresh slot secret. At once, mounted or not.

    Its phone, passphrase or code stays the same. Nothing that was read before is protected by it: see `rotate master`.
    """
    from keyslots.edit import rewrap_slot, slot_of
    from phonevault import slots

    with opened_vault(vault.place, phone_name, passphrase_file, recovery_file) as opened:
        header = opened.header
        chosen = [slot.id for slot in header.slots] if slot_id is None else [slot_of(header, slot_id).id]
        for number in chosen:
            header, _ = rewrap_slot(header, opened.vmks, number)
        slots.save(opened, header)
    for slot in header.slots:
        if slot.id in chosen:
            say(f"slot {slot.id} ({slot.kind}: {printable(slot.label)}) has a fresh secret")


_duty_option = click.option(
    "--duty",
    type=click.FloatRange(0.01, 1),
    default=1,
    show_default=True,
    metavar="SHARE",
    help="Work only this share of the time.",
)


@rotate.command(short_help="Give VAULT a new volume key.")
@vault_argument
@_duty_option
@opening_options
def master(
    vault: Given, duty: float, phone_name: str | None, passphrase_file: str | None, recovery_file: str | None
) -> None:
    """Give VAULT, which nobody has mounted, a new volume key, and wrap every file's key under it.

    Contents and names are not encrypted anew: names stay under the old volume key, and a file key that somebody knows stays
    known. Ctrl-C stops it; the same command goes on.
    """
    from phonevault import rotation
    from phonevault.daemon.harden import allow_many_files
    from phonevault.daemon.treelock import hold_tree

    allow_many_files()  # one for each level of the tree
    lock = hold_tree(vault.path, shared=False)
    try:
        with opened_vault(vault.place, phone_name, passphrase_file, recovery_file) as opened:
            if rotation.is_under_way(opened.header):
                note("going on with a rotation that was interrupted")
            done = run_master(opened, duty)
    finally:
        os.close(lock)
    _report(vault, done)


@rotate.command(short_help="Encrypt everything in VAULT anew.")
@vault_argument
@_duty_option
@opening_options
def content(
    vault: Given, duty: float, phone_name: str | None, passphrase_file: str | None, recovery_file: str | None
) -> None:
    """Give VAULT, which nobody has mounted, a new volume key, every file a new key, and encrypt everything anew.

    Contents, names, link targets and extended attributes are all read and written once. No key that somebody knows, and no old copy
    of the header, opens what is there afterwards. Ctrl-C stops it; the same command goes on. Until then the vault can be mounted, but
    not --shared.
    """
    from phonevault import content_rotation
    from phonevault.daemon.harden import allow_many_files
    from phonevault.daemon.treelock import hold_tree

    allow_many_files()
    lock = hold_tree(vault.path, shared=False)
    try:
        with (
            opened_vault(vault.place, phone_name, passphrase_file, recovery_file) as opened,
            contextlib.ExitStack() as stack,
        ):
            if content_rotation.is_under_way(opened.header):
                note("going on with a rotation that was interrupted")
            done = content_rotation.rotate_content(
                opened, lambda run: stack.enter_context(_watched(run)), duty
            )
    finally:
        os.close(lock)
    _report_content(vault, done)


def _report_content(vault: Given, done: rotation.Rotated) -> None:
    progress: Any = done.progress
    say(
        f"{vault}: volume key {done.epoch}, {progress.wrapped} files ({progress.bytes_done / _MEGA:,.1f} MB, {_rate(progress):,.0f} MB/s) "
        f"and {progress.named} names, links and attributes encrypted anew"
    )
    if progress.damaged:
        warn(
            f"{progress.damaged} damaged objects could not be: the older volume keys stay until they are repaired or gone "
            "(`phonevault check`), and the same command goes on"
        )
    elif not done.complete:
        note("stopped before the end; the same command goes on")
        raise click.exceptions.Exit(EXIT_INTERRUPTED)


def run_master(opened: OpenedVault, duty: float) -> rotation.Rotated:
    """As `rotation.rotate_master`, with its progress shown, and stopped by Ctrl-C between two files."""
    from phonevault import rotation

    with contextlib.ExitStack() as stack:
        return rotation.rotate_master(opened, lambda run: stack.enter_context(_watched(run)), duty)


def _report(vault: Given, done: rotation.Rotated) -> None:
    progress = done.progress
    rate = progress.wrapped / progress.seconds if progress.seconds else progress.wrapped
    say(f"{vault}: volume key {done.epoch}, {progress.wrapped} file keys wrapped anew ({rate:,.0f}/s)")
    if progress.damaged:
        warn(
            f"{progress.damaged} damaged file headers could not be: the older volume key stays until they are repaired or gone"
        )
    elif not done.complete:
        note("stopped before the end; the same command goes on")
        raise click.exceptions.Exit(EXIT_INTERRUPTED)


@contextlib.contextmanager
def _watched(run: Run) -> Iterator[None]:
    """Show progress beside a run, and let Ctrl-C stop it between two files."""
    ended = threading.Event()
    show = _draw if sys.stderr.isatty() else _write_lines
    thread = threading.Thread(target=show, args=(run, ended), daemon=True)
    before = signal.signal(signal.SIGINT, lambda *_: run.stop())
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        signal.signal(signal.SIGINT, before)


def _draw(run: Run, ended: threading.Event) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        while not ended.wait(_REDRAW_S):
            progress: Any = run.progress
            if hasattr(progress, "seen_bytes"):
                total, seen = progress.total_bytes, progress.seen_bytes
            else:
                total, seen = progress.total, progress.seen
            bar.update(task, total=total or None, completed=seen, description=_text(progress))


def _write_lines(run: Run, ended: threading.Event) -> None:
    while not ended.wait(_REPORT_S):
        note(_text(run.progress))


def _text(progress: Any) -> str:
    """How far it is, on one line."""
    if not hasattr(progress, "seen_bytes"):
        return f"{progress.seen} of {progress.total} files looked at, {progress.wrapped} file keys wrapped"
    if not progress.seen:
        return f"{progress.named} names, links and attributes in {progress.folders} folders"
    return (
        f"{progress.seen} of {progress.total} files, {progress.seen_bytes / _MEGA:,.0f} of {progress.total_bytes / _MEGA:,.0f} MB, "
        f"{_rate(progress):,.0f} MB/s"
    )


def _rate(progress: Any) -> float:
    """MB encrypted anew in a second."""
    return progress.bytes_done / progress.seconds / _MEGA if progress.seconds else 0.0
