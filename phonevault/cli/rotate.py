"""`phonevault rotate`: changing keys, in a mounted vault or not."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phonevault.cli import rotation_in_mount
from phonevault.cli.opening import Ways, check_one_way, opened_vault, opening_options
from phonevault.cli.output import counted, note, printable, say
from phonevault.cli.rotation_display import REDRAW_S, RotationDisplay
from phonevault.cli.rotation_in_mount import find
from phonevault.cli.rotation_status import pause, resume, rotate_status, throttle
from phonevault.cli.where import Given, vault_argument
from phonevault.daemon import client
from phonevault.daemon.protocol import Request
from phonevault.errors import EXIT_INTERRUPTED, PhonevaultError, RotationIncomplete

if TYPE_CHECKING:
    from keyslots.header import Header
    from phonevault import rotation
    from phonevault.fs.rewrap import Rewrap
    from phonevault.fs.rotation.run import Reencrypt
    from phonevault.vault import OpenedVault

    Run = Rewrap | Reencrypt

_MEGA = 1_000_000


@click.group()
def rotate() -> None:
    """Change keys: a slot's secret, the volume key, everything."""


for command in (rotate_status, pause, resume, throttle):
    rotate.add_command(command)


@rotate.command("slot", short_help="Give slots of VAULT a fresh secret.")
@vault_argument
@click.argument("slot_id", type=click.IntRange(0, 31), metavar="[SLOT]", required=False)
@opening_options
def rotate_slot(
    vault: Given,
    slot_id: int | None,
    phone_names: tuple[str, ...],
    passphrase_file: str | None,
    recovery_file: str | None,
) -> None:
    """Give SLOT of VAULT (every slot, if left out) a fresh slot secret. At once, mounted or not.

    Its phone, passphrase or code stays the same. Nothing that was read before is protected by it: see `rotate master`.
    """
    from keyslots.edit import rewrap_slot, slot_of
    from phonevault import slots

    with opened_vault(vault.place, phone_names, passphrase_file, recovery_file) as opened:
        header = opened.header
        chosen = [slot.id for slot in header.slots] if slot_id is None else [slot_of(header, slot_id).id]
        for number in chosen:
            header, _ = rewrap_slot(header, opened.vmks, number)
        slots.save(opened, header)
    for slot in header.slots:
        if slot.id in chosen:
            say(f"slot {slot.id} ({slot.kind}: {printable(slot.label)}) has a fresh secret")


def working_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--duty` and `--yes` to a rotation."""
    for option in (
        click.option("--background", is_flag=True, help="In a mounted vault: do not wait for the end."),
        click.option("--yes", is_flag=True, help="Do not ask about the slots on a terminal."),
        click.option(
            "--duty",
            type=click.FloatRange(0.001, 1),
            metavar="SHARE",
            help="Work only this share of the time (1; in a mounted vault 0.5).",
        ),
    ):
        command = option(command)
    return command


@rotate.command(short_help="Give VAULT a new volume key.")
@vault_argument
@working_options
@opening_options
def master(
    vault: Given,
    duty: float | None,
    yes: bool,
    background: bool,
    phone_names: tuple[str, ...],
    passphrase_file: str | None,
    recovery_file: str | None,
) -> None:
    """Give VAULT a new volume key, and wrap every file's key under it.

    If it is mounted, the mount does it while the folder is in use, and this command looks on: Ctrl-C leaves it running. If it is
    not, Ctrl-C stops it, and the same command goes on.

    Contents and names are not encrypted anew: names stay under the old volume key, and a file key that somebody knows stays
    known.
    """
    ways = Ways(phone_names, passphrase_file, recovery_file)
    if _in_mount("master", vault, ways, duty, yes=yes, background=background):
        return
    with _opened_alone(vault, ways, yes=yes) as opened:
        done = run_master(opened, duty or 1.0)
    _report(vault, done)


@rotate.command(short_help="Encrypt everything in VAULT anew.")
@vault_argument
@working_options
@opening_options
def content(
    vault: Given,
    duty: float | None,
    yes: bool,
    background: bool,
    phone_names: tuple[str, ...],
    passphrase_file: str | None,
    recovery_file: str | None,
) -> None:
    """Give VAULT a new volume key, every file a new key, and encrypt everything anew.

    Contents, names, link targets and extended attributes are all read and written once. No key that somebody knows, and no old copy
    of the header, opens what is there afterwards.

    If it is mounted, the mount does it while the folder is in use, and this command looks on: Ctrl-C leaves it running. If it is
    not, Ctrl-C stops it, and the same command goes on. Until it is done the vault cannot be mounted --shared.
    """
    from phonevault import content_rotation

    ways = Ways(phone_names, passphrase_file, recovery_file)
    if _in_mount("content", vault, ways, duty, yes=yes, background=background):
        return
    with _opened_alone(vault, ways, yes=yes) as opened, contextlib.ExitStack() as stack:
        done = content_rotation.rotate_content(
            opened, lambda run: stack.enter_context(_watched(run)), duty or 1.0
        )
    _report_content(vault, done)


def _in_mount(
    kind: str, vault: Given, ways: Ways, duty: float | None, *, yes: bool, background: bool
) -> bool:
    """Have the mount of a vault do it; False if it is not mounted."""
    from keyslots.place import Place
    from keyslots.store import load
    from phonevault.daemon.harden import forbid_dumps
    from phonevault.rotation_kinds import digest_of

    check_one_way(ways.phone_names, ways.passphrase_file, ways.recovery_file)
    mount = find(vault.text)
    if mount is None:
        if background:
            raise click.UsageError("--background is for a vault that is mounted")
        return False
    place = mount.mountpoint
    where = Place(Path(mount.vault), _header_file(mount))
    now = rotation_in_mount.rotation_of(client.call(place, Request("status")))
    if now is not None and now["kind"] == kind and now["state"] in ("running", "paused"):
        note("a rotation is going on already")
        if duty is not None:
            rotation_in_mount.change(place, "throttle", duty)
        rotation_in_mount.change(place, "resume")
    else:
        forbid_dumps()
        header = load(where).header
        _agree_on_slots(header, yes=yes)
        rotation_in_mount.begin(place, kind, digest_of(header), duty, ways)
    if background:
        rotation_in_mount.tell_begun(vault.text, place)
        return True
    ended = rotation_in_mount.follow(place)
    say_done = _say_done if kind == "master" else _say_content_done
    say_done(vault, load(where).header.epochs.current, ended)
    return True


def _header_file(mount: client.Found) -> Path | None:
    """Where the daemon has the header, if it is kept apart."""
    file: str | None = mount.status.get("header_file")
    return None if file is None else Path(file)


def _agree_on_slots(header: Header, *, yes: bool) -> None:
    """Show which slots will get the new volume key: whoever knew the old one may have put one of his own there.

    Raises:
        PhonevaultError: the user does not agree.
    """
    from phonevault.newest_header import compare
    from phonevault.rotation_kinds import is_any_under_way

    under_way = is_any_under_way(header)
    if under_way:
        note("going on with a rotation that was interrupted")
    agree_on_slots(header, yes=yes or under_way)
    if not (yes or under_way or _on_terminal()) and compare(header):
        raise PhonevaultError(
            "the keys were not rotated: the header is older than one met here before",
            "--yes rotates them all the same",
        )


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def agree_on_slots(header: Header, *, yes: bool) -> None:
    """Show the slots that get a volume key, and ask about them on a terminal; errors as of `_agree_on_slots`."""
    note("these slots will open the vault under its new volume key; remove first what is not yours:")
    for slot in header.slots:
        note(f"  slot {slot.id} ({slot.kind}: {printable(slot.label)}), made {slot.created}")
    if yes or not _on_terminal():
        return
    if not click.confirm("Is each of them wanted?", default=False, err=True):
        raise PhonevaultError("the keys were not rotated", "`phonevault slot remove` takes a slot away")


@contextlib.contextmanager
def _opened_alone(vault: Given, ways: Ways, *, yes: bool) -> Iterator[OpenedVault]:
    """Open a vault that nobody has mounted, nor can mount meanwhile; the slots are shown."""
    from phonevault.cli.holding import hold_or_say_where
    from phonevault.daemon.harden import allow_many_files

    allow_many_files()  # one for each level of the tree
    lock = hold_or_say_where(vault.path, shared=False)
    try:
        with opened_vault(vault.place, ways.phone_names, ways.passphrase_file, ways.recovery_file) as opened:
            _agree_on_slots(opened.header, yes=yes)
            yield opened
    finally:
        os.close(lock)


def run_master(opened: OpenedVault, duty: float) -> rotation.Rotated:
    """As `rotation.rotate_master`, with its progress shown, and stopped by Ctrl-C between two files."""
    from phonevault import rotation

    with contextlib.ExitStack() as stack:
        return rotation.rotate_master(opened, lambda run: stack.enter_context(_watched(run)), duty)


def run_content(opened: OpenedVault, duty: float) -> rotation.Rotated:
    """As `content_rotation.rotate_content`, with its progress shown, and stopped by Ctrl-C between two steps."""
    from phonevault import content_rotation

    with contextlib.ExitStack() as stack:
        return content_rotation.rotate_content(opened, lambda run: stack.enter_context(_watched(run)), duty)


def _say_done(vault: Given, epoch: int, progress: Mapping[str, Any]) -> None:
    wrapped, seconds = progress["wrapped"], progress["seconds"]
    rate = wrapped / seconds if seconds else wrapped
    say(f"{vault}: volume key {epoch}, {counted(wrapped, 'file key')} wrapped anew ({rate:,.0f}/s)")


def _report(vault: Given, done: rotation.Rotated) -> None:
    progress = done.progress
    _say_done(vault, done.epoch, asdict(progress))
    _unless_complete(
        done,
        f"{counted(progress.damaged, 'damaged file header')} could not be: the older volume key stays until they are repaired or gone",
    )


def _unless_complete(done: rotation.Rotated, damaged: str) -> None:
    """Say what kept a rotation from its end, if anything did.

    Raises:
        RotationIncomplete: damage, as ``damaged`` tells.
        Exit: it was stopped.
    """
    if done.progress.damaged:
        raise RotationIncomplete(damaged)
    if not done.complete:
        note("stopped before the end; the same command goes on")
        raise click.exceptions.Exit(EXIT_INTERRUPTED)


@contextlib.contextmanager
def _watched(run: Run) -> Iterator[None]:
    """Show progress beside a run, and let Ctrl-C stop it between two files."""
    ended = threading.Event()
    thread = threading.Thread(target=_show, args=(run, ended), daemon=True)
    # In a thread: this one may be inside a lock of the run's just now, and would wait for itself.
    before = signal.signal(signal.SIGINT, lambda *_: _thread.start_new_thread(run.stop, ()))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        signal.signal(signal.SIGINT, before)


def _show(run: Run, ended: threading.Event) -> None:
    with RotationDisplay("files") as display:
        while not ended.wait(REDRAW_S):
            display.update(asdict(run.progress))


def _say_content_done(vault: Given, epoch: int, progress: Mapping[str, Any]) -> None:
    mega, seconds = progress["bytes_done"] / _MEGA, progress["seconds"]
    rate = mega / seconds if seconds else 0.0
    say(
        f"{vault}: volume key {epoch}, {progress['wrapped']} files ({mega:,.1f} MB, {rate:,.0f} MB/s) "
        f"and {progress['named']} names, links and attributes encrypted anew"
    )


def _report_content(vault: Given, done: rotation.Rotated) -> None:
    progress: Any = done.progress
    _say_content_done(vault, done.epoch, asdict(progress))
    _unless_complete(
        done,
        f"{progress.damaged} damaged objects could not be: the older volume keys stay until they are repaired or gone",
    )
