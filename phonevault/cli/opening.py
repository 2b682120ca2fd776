"""How a command opens a vault: the three options that `mount` has, and what they stand for."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from phonevault.cli import phones
from phonevault.cli.output import warn
from phonevault.cli.secret_input import prompt_secret, read_secret
from phonevault.cli.telling import tell_later

if TYPE_CHECKING:
    from keyslots.header import Header
    from keyslots.place import Place
    from phonevault.daemon.ways import Way
    from phonevault.vault import OpenedVault


@dataclass(frozen=True)
class Ways:
    """What the three options say.

    Attributes:
        phone_names: `--phone`.
        passphrase_file: `--passphrase-file`.
        recovery_file: `--recovery-file`.
    """

    phone_names: tuple[str, ...]
    passphrase_file: str | None
    recovery_file: str | None


def opening_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--phone`, `--passphrase-file` and `--recovery-file` to a command."""
    for option in (
        click.option(
            "--recovery-file", metavar="F", help="Open it with the recovery code in F ('-' as above)."
        ),
        click.option(
            "--passphrase-file",
            metavar="F",
            help="Open it with the passphrase in F ('-': standard input or asked).",
        ),
        click.option(
            "--phone",
            "phone_names",
            metavar="NAME",
            multiple=True,
            help="Open it with this phone (if left out, with what fits). Several: with all of them together.",
        ),
    ):
        command = option(command)
    return command


def choose_way(
    header: Header, phone_names: tuple[str, ...], passphrase_file: str | None, recovery_file: str | None
) -> Way:
    """Return how the vault is to be opened; asks on the terminal for a secret that no file is given for.

    Raises:
        UnknownPhone, LinkError, SecretInputError: There is no such way.
    """
    from phonevault.daemon.ways import PhoneWay, SecretWay

    if phone_names and passphrase_file is not None:
        phone = phones.phone_for(header, phone_names[0])
        connect = phones.connector(phone)  # before the passphrase is read: it may fail
        return PhoneWay(phone.name, phone.fingerprint, connect, read_secret(passphrase_file, "passphrase"))
    if passphrase_file is not None:
        return SecretWay("passphrase", read_secret(passphrase_file, "passphrase"))
    if recovery_file is not None:
        return SecretWay("recovery", read_secret(recovery_file, "recovery code"))
    kinds = {slot.kem.kind for slot in header.slots}
    if not phone_names and not kinds & {"phone", "phone+passphrase", "phones"}:
        if "passphrase" in kinds:
            return SecretWay("passphrase", prompt_secret("passphrase"))
        return SecretWay("recovery", prompt_secret("recovery code"))
    group = phones.group_for(header, phone_names)
    if group is not None:
        return group
    phone = phones.phone_for(header, phone_names[0] if phone_names else None)
    connect = phones.connector(phone)
    typed = prompt_secret("passphrase") if _needs_passphrase(header, phone.fingerprint) else None
    return PhoneWay(phone.name, phone.fingerprint, connect, typed)


def _needs_passphrase(header: Header, fingerprint: str) -> bool:
    """Whether a phone opens the vault together with a passphrase only."""
    from keyslots.header import phone_part

    parts = ((slot.kind, phone_part(slot.kem)) for slot in header.slots)
    return {kind for kind, part in parts if part and part.fingerprint.hex() == fingerprint} == {
        "phone+passphrase"
    }


def check_one_way(
    phone_names: tuple[str, ...], passphrase_file: str | None, recovery_file: str | None
) -> None:
    """Refuse a recovery code beside another way in. A phone and a passphrase together are a way of its own.

    Raises:
        click.UsageError: Several were given.
    """
    if recovery_file is not None and (phone_names or passphrase_file is not None):
        raise click.UsageError("--recovery-file excludes --phone and --passphrase-file")
    if len(phone_names) > 1 and passphrase_file is not None:
        raise click.UsageError("a passphrase goes with one --phone")
    if len(set(phone_names)) < len(phone_names):
        raise click.UsageError("the same --phone was given twice")


@contextlib.contextmanager
def opened_vault(
    place: Place,
    phone_names: tuple[str, ...],
    passphrase_file: str | None,
    recovery_file: str | None,
    among: Header | None = None,
) -> Iterator[OpenedVault]:
    """Open a vault for the time of a command; its keys are wiped at the end.

    Args:
        place: VAULT and its header, canonical.
        phone_names: The options `--phone`.
        passphrase_file: The option `--passphrase-file`.
        recovery_file: The option `--recovery-file`.
        among: A header with the slots that may open it; those of the vault if omitted.

    Raises:
        KeyslotsError, LinkError, SecretInputError: It does not open.
    """
    from keyslots.store import load
    from phonevault.daemon.harden import forbid_dumps
    from phonevault.daemon.keys import KeySource
    from phonevault.daemon.ways import fingerprint_of, open_by
    from phonevault.newest_header import look
    from phonevault.slot_use import note_use

    check_one_way(phone_names, passphrase_file, recovery_file)
    forbid_dumps()
    way = choose_way(among or load(place).header, phone_names, passphrase_file, recovery_file)
    session, opened = open_by(KeySource(place, fingerprint_of(way)), way)
    if session is not None:
        session.close()
    try:
        note_use(opened.header, opened.slot)
        for warning in (*opened.warnings, look(opened.header)):
            if warning:
                warn(warning)
        yield dataclasses.replace(opened, on_write=tell_later(way))
    finally:
        opened.wipe()
