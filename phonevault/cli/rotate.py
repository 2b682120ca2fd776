"""`phonevault rotate slot|master`: changing keys."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from phonevault.cli.opening import opened_vault, opening_options
from phonevault.cli.output import note, printable, say, warn
from phonevault.cli.where import Given, vault_argument
from phonevault.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from phonevault import rotation
    from phonevault.fs.rewrap import Rewrap
    from phonevault.vault import OpenedVault

_REPORT_S = 5.0
_REDRAW_S = 0.2


@click.group()
def rotate() -> None:
    """Change keys: a slot's secret, the volume key."""


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


@rotate.command(short_help="Give VAULT a new volume key.")
@vault_argument
@click.option(
    "--duty",
    type=click.FloatRange(0.01, 1),
    default=1,
    show_default=True,
    metavar="SHARE",
    help="Work only this share of the time.",
)
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
def _watched(run: Rewrap) -> Iterator[None]:
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


def _draw(run: Rewrap, ended: threading.Event) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("file keys", total=None)
        while not ended.wait(_REDRAW_S):
            bar.update(task, total=run.progress.total or None, completed=run.progress.seen)


def _write_lines(run: Rewrap, ended: threading.Event) -> None:
    while not ended.wait(_REPORT_S):
        progress = run.progress
        note(f"{progress.seen} of {progress.total} files looked at, {progress.wrapped} file keys wrapped")
