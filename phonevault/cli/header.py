"""`phonevault header backup|restore`: copies of a vault's header."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from phonevault.cli.holding import hold_or_say_where
from phonevault.cli.opening import check_one_way, choose_way, opening_options
from phonevault.cli.output import note, say, warn
from phonevault.cli.secret_input import check_output_file, has_terminal
from phonevault.cli.telling import tell_opener
from phonevault.cli.where import Given, vault_argument
from phonevault.errors import PhonevaultError

if TYPE_CHECKING:
    from phonevault.header_copies import Comparison


@click.group()
def header() -> None:
    """Back up and restore a vault's header."""


@header.command()
@vault_argument
@click.argument("file")
def backup(vault: Given, file: str) -> None:
    """Copy the header of VAULT to the new FILE.

    It holds no secret, but whoever has it and the secret of one of its slots (a lost phone's, a passphrase you have changed since)
    can open the ciphertext: keep it where you keep the vault, and make it anew after every change of the slots.
    """
    from phonevault import header_copies

    check_output_file(Path(file))
    written = header_copies.backup(vault.place, Path(file))
    say(f"wrote {file}: header of {vault}, generation {written.generation}")


@header.command()
@vault_argument
@click.argument("file")
@click.option("--yes", is_flag=True, help="Restore an old header without asking.")
@opening_options
def restore(
    vault: Given,
    file: str,
    yes: bool,
    phone_names: tuple[str, ...],
    passphrase_file: str | None,
    recovery_file: str | None,
) -> None:
    """Put the header in FILE back into VAULT, both copies.

    It must open (with the phone, a passphrase or the recovery code that it has slots for), and it must open this vault's tree. A
    header older than the one that is there brings back slots removed since: that is asked about.
    """
    from phonevault import header_copies
    from phonevault.daemon.harden import forbid_dumps
    from phonevault.daemon.ways import opener_of

    check_one_way(phone_names, passphrase_file, recovery_file)
    forbid_dumps()
    found = header_copies.compare(vault.place, Path(file))
    with _unmounted(vault, found):
        _ask_about(found, yes)
        way = choose_way(found.backup.header, phone_names, passphrase_file, recovery_file)
        with opener_of(way, f"restore the header of {vault.path.name}") as opener:
            opened = header_copies.open_backup(vault.place, found.backup, opener)
            opened = dataclasses.replace(opened, on_write=tell_opener(opener))
            try:
                written = header_copies.restore(opened, found.present)
            finally:
                opened.wipe()
    say(f"restored the header of {vault} from {file}, as generation {written.generation}")
    if found.older or found.present is None:
        note("a phone that remembers a newer header of this vault asks its user before it opens this one")


@contextlib.contextmanager
def _unmounted(vault: Given, found: Comparison) -> Iterator[None]:
    """Keep the vault from being mounted, unless the backup has the volume keys that a mount works with."""
    if not found.keys_may_differ:
        yield
        return
    lock = hold_or_say_where(
        vault.path, shared=False, hint="unmount it first: `phonevault unmount MOUNTPOINT`"
    )
    try:
        yield
    finally:
        os.close(lock)


def _ask_about(found: Comparison, yes: bool) -> None:
    if not found.older and not found.other_keys:
        return
    if found.older and found.replaced is not None:
        mine, theirs = found.backup.header.generation, found.replaced.header.generation
        warn(
            f"the backup is older (generation {mine}) than the vault's header ({theirs}): its slots come back"
        )
    if found.other_keys:
        warn("the volume keys were changed since the backup: files written under the new ones would not open")
    if yes or (has_terminal() and click.confirm("Restore it all the same?", default=False, err=True)):
        return
    raise PhonevaultError("the header was not restored", "--yes restores an old header without asking")
