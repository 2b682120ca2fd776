"""`phonevault slot list|add|remove|test`: the ways into a vault."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from phonevault.cli import phones
from phonevault.cli.info import slot_facts
from phonevault.cli.new_passphrase import ask_new_passphrase, cost_here
from phonevault.cli.opening import opened_vault, opening_options
from phonevault.cli.output import note, printable, say, show_json, show_table, warn
from phonevault.cli.recovery_output import check_can_be_given, code_back, code_file, give_code
from phonevault.cli.revoke import revoke
from phonevault.cli.telling import tell_now
from phonevault.cli.where import Given, vault_argument

if TYPE_CHECKING:
    from keyslots.build import SlotRequest
    from keyslots.header import Header
    from keyslots.secret import Secret
    from phone_link.host.phone_book import PairedPhone
    from phone_link.host.session import PhoneSession
    from phonevault.vault import OpenedVault, SlotOpener


@click.group()
def slot() -> None:
    """List, add, remove and test the ways into a vault."""


slot.add_command(revoke)


@slot.command("list")
@vault_argument
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_slots(vault: Given, as_json: bool) -> None:
    """Show the slots of VAULT. No key is used, so nothing of it is verified.

    The last use is the one by you on this computer; the vault itself does not remember any.
    """
    from phonevault.slot_use import last_use

    header = _header(vault)
    found = [{**slot_facts(item), "last_used": last_use(header, item)} for item in header.slots]
    if as_json:
        show_json(found)
        return
    rows = [
        (
            str(s["id"]),
            s["kind"],
            s["label"],
            s["created"],
            s["last_used"] or "–",
            s.get("fingerprint", "")[:16],
        )
        for s in found
    ]
    show_table(("slot", "kind", "label", "made", "last use here", "key"), rows)


@slot.command(short_help="Add a way into VAULT.")
@vault_argument
@click.option("--passphrase", "typed", is_flag=True, help="New: a passphrase, asked for twice.")
@click.option("--new-passphrase-file", metavar="F", help="New: the passphrase in F ('-': standard input).")
@click.option("--new-phone", metavar="NAME", help="New: a paired phone.")
@click.option("--recovery", is_flag=True, help="New: a recovery code, shown once on the terminal.")
@click.option("--new-recovery-file", metavar="OUT", help="New: a recovery code, written to OUT (mode 0600).")
@click.option("--label", metavar="TEXT", help="What to call the slot (at most 64 characters).")
@click.option("--unproved", is_flag=True, help="With --new-phone: the phone is not here to try the slot.")
@opening_options
def add(
    vault: Given,
    typed: bool,
    new_passphrase_file: str | None,
    new_phone: str | None,
    recovery: bool,
    new_recovery_file: str | None,
    label: str | None,
    unproved: bool,
    phone_name: str | None,
    passphrase_file: str | None,
    recovery_file: str | None,
) -> None:
    """Add a way into VAULT: a passphrase, a phone, both together, or a recovery code.

    VAULT is opened through a slot that it has. The new slot is tried before it is written; a new phone is asked for that. A passphrase
    and --new-phone make one slot that needs both.
    """
    passphrase, code = typed or new_passphrase_file is not None, recovery or new_recovery_file is not None
    if code == (passphrase or new_phone is not None) or (typed and new_passphrase_file is not None):
        raise click.UsageError(
            "give a passphrase (--passphrase or --new-passphrase-file), --new-phone, both, or --recovery or --new-recovery-file"
        )
    with opened_vault(vault.place, phone_name, passphrase_file, recovery_file) as opened:
        if code:
            made = _add_recovery(opened, new_recovery_file, label)
            say(f"added slot {made}")
            return
        secret = ask_new_passphrase(new_passphrase_file) if passphrase else None
        try:
            if new_phone is not None:
                made = _add_phone(opened, new_phone, secret, label, unproved)
            else:
                made = _add_passphrase(opened, secret or bytearray(), label)
        finally:
            if secret is not None:
                secret[:] = bytes(len(secret))
    say(f"added slot {made}")


@slot.command()
@vault_argument
@click.argument("slot_id", type=click.IntRange(0, 31), metavar="SLOT")
@opening_options
def remove(
    vault: Given, slot_id: int, phone_name: str | None, passphrase_file: str | None, recovery_file: str | None
) -> None:
    """Remove a slot of VAULT, which must be opened through another one.

    So the last way in cannot be removed. Who kept an old copy of the vault and the slot's secret can still open that copy.
    """
    from phonevault import slots

    with opened_vault(vault.place, phone_name, passphrase_file, recovery_file) as opened:
        gone = slots.remove(opened, slot_id)
    say(f"removed slot {gone.id} ({gone.kind}: {printable(gone.label)})")
    note("whoever kept a copy of the old header can still open old copies of the vault through it")


@slot.command()
@vault_argument
@opening_options
def test(
    vault: Given, phone_name: str | None, passphrase_file: str | None, recovery_file: str | None
) -> None:
    """Prove that a slot opens VAULT, without mounting it."""
    from phonevault.vault import prove

    with opened_vault(vault.place, phone_name, passphrase_file, recovery_file) as opened:
        prove(opened)
        found = opened.slot
    say(f"slot {found.id} ({found.kind}: {printable(found.label)}) opens {vault}")


@click.command()
@vault_argument
@click.option(
    "--new-passphrase-file", metavar="F", help="The new passphrase in F; else it is asked for twice."
)
@click.option(
    "--passphrase-file",
    metavar="F",
    help="The old passphrase in F ('-': standard input); else it is asked for.",
)
def passwd(vault: Given, new_passphrase_file: str | None, passphrase_file: str | None) -> None:
    """Change a passphrase of VAULT: the slot that the old one opens gets the new one.

    The volume key stays: who knew the old passphrase and kept a copy of the old header can still open old copies of the vault.
    """
    from keyslots.build import PassphraseSlotRequest
    from keyslots.edit import replace_slot
    from phonevault import slots
    from phonevault.vault import PassphraseOpener

    with opened_vault(vault.place, None, passphrase_file or "-", None) as opened:
        old = opened.slot
        secret = ask_new_passphrase(new_passphrase_file)
        try:
            request = PassphraseSlotRequest(secret, old.label, cost_here(opened.header, old.id))
            slots.change(
                opened,
                lambda vault: replace_slot(vault.header, vault.vmks, old.id, request),
                PassphraseOpener(secret),
            )
        finally:
            secret[:] = bytes(len(secret))
    say(f"slot {old.id} has the new passphrase")


# -- the three kinds ----------------------------------------------------------------------------------------------


def _add_passphrase(opened: OpenedVault, secret: bytearray, label: str | None) -> str:
    from keyslots.build import PassphraseSlotRequest
    from phonevault.vault import PassphraseOpener

    request = PassphraseSlotRequest(secret, label or "passphrase", cost_here(opened.header))
    return _add(opened, request, PassphraseOpener(secret))


def _add_phone(
    opened: OpenedVault, name: str, secret: bytearray | None, label: str | None, unproved: bool
) -> str:
    """A slot for a phone, or for a phone and a passphrase together."""
    from keyslots.build import PhonePassphraseSlotRequest, PhoneSlotRequest
    from phonevault.vault import PhoneOpener, PhonePassphraseOpener

    phone = phones.phone_book().get(name)
    if phone.fingerprint in phones.phone_fingerprints(opened.header):
        warn(f"the phone {printable(phone.name)} has a slot already")
    request: SlotRequest = PhoneSlotRequest(phone.public_key_der, label or phone.name)
    if secret is not None:
        request = PhonePassphraseSlotRequest(
            phone.public_key_der,
            secret,
            label or f"{phone.name} and a passphrase",
            cost_here(opened.header),
        )
    if unproved:
        return _add(opened, request, None)
    session = phones.connector(phone)(phones.CONNECT_TIMEOUT_S)
    try:
        asking = PhoneOpener(session, phone.fingerprint, f"add this phone to the folder {opened.path.name}")
        opened = _also_told(opened, phone, session)
        return _add(opened, request, asking if secret is None else PhonePassphraseOpener(asking, secret))
    finally:
        session.close()


def _also_told(opened: OpenedVault, phone: PairedPhone, session: PhoneSession) -> OpenedVault:
    """The new phone remembers the header that it is in, beside the one that opened the vault."""
    from keyslots.header import phone_part

    new, before = tell_now(phone.name, session), opened.on_write
    part = phone_part(opened.slot.kem)
    if part is not None and part.fingerprint.hex() == phone.fingerprint:
        return dataclasses.replace(opened, on_write=new)  # the same phone: it has one connection for us
    return dataclasses.replace(opened, on_write=lambda mark: (new(mark), before(mark)))


def _add_recovery(opened: OpenedVault, out: str | None, label: str | None) -> str:
    from keyslots.build import RecoverySlotRequest, new_recovery_code
    from phonevault.vault import RecoveryOpener

    check_can_be_given(out, "--new-recovery-file")
    with code_file(out) as descriptor, new_recovery_code() as code, _printed(code) as text:
        # Given before the slot is written: a slot whose code nobody has is of no use.
        give_code(text, descriptor)
        opener = RecoveryOpener(code_back(text, out))
        try:
            return _add(opened, RecoverySlotRequest(code, label or "recovery code"), opener)
        finally:
            opener.wipe()


@contextlib.contextmanager
def _printed(code: Secret) -> Iterator[str]:
    """A code as text, wiped at the end."""
    from keyslots.memory import wipe_str
    from keyslots.recovery_code import format_code

    formatted = format_code(code)
    text = formatted.decode("ascii")
    formatted[:] = bytes(len(formatted))
    try:
        yield text
    finally:
        wipe_str(text)


def _add(opened: OpenedVault, request: SlotRequest, opener: SlotOpener | None) -> str:
    from keyslots.edit import add_slot
    from phonevault import slots

    made = slots.change(opened, lambda vault: add_slot(vault.header, vault.vmks, request), opener)
    return f"{made.id} ({made.kind}: {printable(made.label)})"


def _header(vault: Given) -> Header:
    from keyslots.store import load

    loaded = load(vault.place)
    for warning in loaded.warnings:
        warn(warning)
    return loaded.header
