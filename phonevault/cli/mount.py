"""`phonevault mount`."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from phonevault.cli.holding import hold_or_say_where
from phonevault.cli.opening import check_one_way, choose_way, opening_options
from phonevault.cli.output import note, say, show_error, warn
from phonevault.cli.where import Given, vault_argument
from phonevault.errors import EXIT_OK
from phonevault.paths import log_dir, mount_id

if TYPE_CHECKING:
    from pathlib import Path

    from keyslots.header import Header
    from phonevault.daemon.serve import MountPlan
    from phonevault.daemon.ways import Way


def finite(value: float) -> float:
    """Refuse "nan", which is neither below nor above any bound: such a grace would never end."""
    if not math.isfinite(value):
        raise click.BadParameter("not a number of seconds")
    return value


@click.command()
@vault_argument
@click.argument("mountpoint")
@opening_options
@click.option(
    "--grace",
    type=click.FloatRange(0, 86400),
    callback=lambda _ctx, _param, value: finite(value),
    default=10,
    show_default=True,
    metavar="S",
    help="Seconds from the phone's last sign of life to the lock; 0 locks as soon as a loss is noticed.",
)
@click.option("--foreground", is_flag=True, help="Stay in the foreground, log to standard error.")
@click.option("--read-only", is_flag=True, help="Refuse every change.")
@click.option(
    "--allow-other", is_flag=True, help="Let other users in, as far as the modes of the files allow."
)
@click.option("--shared", is_flag=True, help="Other hosts write the same vault (network or synced folder).")
@click.option("--suid", is_flag=True, help="Honour set-id bits and file capabilities (root only).")
@click.option("--dev", is_flag=True, help="Honour device files (root only).")
@click.option(
    "--save-power",
    is_flag=True,
    help="Let processors sleep between requests. Else root's mounts keep them awake while the folder is busy.",
)
@click.option("--no-auto-unlock", is_flag=True, help="After a lock wait for `phonevault unlock`.")
def mount(
    vault: Given,
    mountpoint: str,
    phone_names: tuple[str, ...],
    passphrase_file: str | None,
    recovery_file: str | None,
    grace: float,
    foreground: bool,
    read_only: bool,
    allow_other: bool,
    shared: bool,
    suid: bool,
    dev: bool,
    save_power: bool,
    no_auto_unlock: bool,
) -> None:
    """Open VAULT as a folder at MOUNTPOINT, an empty directory.

    With a phone the folder freezes when the phone is lost, locks itself after the grace period, and opens
    again by itself when the phone is back. It stays locked until `phonevault unlock` if it was locked by
    `phonevault lock` or on the phone, if the phone refused, or with --no-auto-unlock. Opened by a passphrase
    or a recovery code it is bound to no phone: it stays open until it is locked or unmounted.
    """
    from keyslots.store import load
    from phonevault.daemon.harden import forbid_dumps
    from phonevault.daemon.places import check_cipher, prepare_mountpoint
    from phonevault.daemon.serve import MountPlan
    from phonevault.daemon.state import Policy

    check_one_way(phone_names, passphrase_file, recovery_file)
    if (suid or dev) and os.geteuid() != 0:
        raise click.UsageError("--suid and --dev are for root only")
    header = load(vault.place).header
    check_cipher(header.cipher)
    # Found out early; the daemon then takes the lock for good.
    os.close(hold_or_say_where(vault.path, shared=shared or read_only))
    place, removed = prepare_mountpoint(mountpoint, vault.path)
    if removed:
        note(f"removed the dead mount at {place} that a killed daemon had left")
    policy = Policy(grace_s=grace, auto_unlock=not no_auto_unlock)
    plan = MountPlan(
        vault.place,
        place,
        policy,
        read_only=read_only,
        allow_other=allow_other,
        shared=shared,
        suid=suid,
        dev=dev,
        save_power=save_power,
    )

    waiting = _rotation_note(header, changes=not (read_only or shared))

    def way() -> Way:
        forbid_dumps()  # before a passphrase is typed
        return choose_way(header, phone_names, passphrase_file, recovery_file)

    if foreground:
        from phonevault.daemon.serve import mount_and_serve

        mount_and_serve(plan, way(), lambda: _open_now(vault.text, place, waiting), warn)
        return
    _in_background(plan, way, vault)
    if waiting:
        note(waiting)


def _open_now(vault: str, place: Path, waiting: str) -> None:
    say(f"{vault} is open at {place}")
    if waiting:
        note(waiting)


def _rotation_note(header: Header, *, changes: bool) -> str:
    """What becomes of a rotation of keys that is under way."""
    from phonevault.rotation_kinds import kind_under_way

    kind = kind_under_way(header)
    if kind is None:
        return ""
    if not changes:
        return f"a rotation of its keys ({kind.name}) is under way: it waits for a mount without --read-only and --shared"
    return f"a rotation of its keys ({kind.name}) is under way and goes on in the background: `phonevault rotate status`"


def _in_background(plan: MountPlan, way: Callable[[], Way], vault: Given) -> None:
    from phonevault.daemon.detach import fork_and_wait
    from phonevault.daemon.log import open_log
    from phonevault.daemon.serve import mount_and_serve

    log_path = log_dir() / f"{mount_id(str(plan.mountpoint))}.log"
    code = fork_and_wait(
        lambda ready: mount_and_serve(plan, way(), ready, warn),
        lambda: open_log(log_path),
    )
    if code is None:
        return  # in the daemon, after the end of the mount
    if code >= 128:
        show_error(f"the mount daemon was ended by signal {code - 128}")
    if code != EXIT_OK:
        raise click.exceptions.Exit(code)
    say(f"{vault} is open at {plan.mountpoint}")
