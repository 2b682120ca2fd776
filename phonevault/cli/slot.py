"""`phonevault slot list|add|remove|test`: the ways into a vault."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from phonevault.cli import phones
from phonevault.cli.info import key_text, slot_facts
from phonevault.cli.new_passphrase import ask_new_passphrase, cost_here
from phonevault.cli.opening import opened_vault, opening_options
from phonevault.cli.output import note, printable, say, show_json, show_table, warn
from phonevault.cli.recovery_output import check_can_be_given, code_back, code_file, give_code
from phonevault.cli.revoke import revoke
from phonevault.cli.telling import Rememberer, tell_now
from phonevault.cli.where import Given, vault_argument

if TYPE_CHECKING:
    from keyslots.build import SlotRequest
    from keyslots.header import Header
    from keyslots.secret import Secret
    from phone_link.host.phone_book import PairedPhone
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
            key_text(s),
        )
        for s in found
    ]
    show_table(("slot", "kind", "label", "made", "last use here", "key"), rows)


@slot.command(short_help="Add a way into VAULT.")
@vault_argument
@click.option("--passphrase", "typed", is_flag=True, help="New: a passphrase, asked for twice.")
@click.option("--new-passphrase-file", metavar="F", help="New: the passphrase in F ('-': standard input).")
@click.option("--new-phone", "new_phones", metavar="NAME", multiple=True, help="New: a paired phone.")
@click.option(
    "--threshold",
    type=int,
    metavar="N",
    help="With several --new-phone: any N of them together open the vault.",
)
@click.option("--recovery", is_flag=True, help="New: a recovery code, shown once on the terminal.")
@click.option("--new-recovery-file", metavar="OUT", help="New: a recovery code, written to OUT (mode 0600).")
@click.option("--label", metavar="TEXT", help="What to call the slot (at most 64 characters).")
@click.option("--unproved", is_flag=True, help="With --new-phone: it is not here to try the slot.")
@opening_options
def add(
    vault: Given,
    typed: bool,
    new_passphrase_file: str | None,
    new_phones: tuple[str, ...],
    threshold: int | None,
    recovery: bool,
    new_recovery_file: str | None,
    label: str | None,
    unproved: bool,
    phone_names: tuple[str, ...],
    passphrase_file: str | None,
    recovery_file: str | None,
) -> None:
    """Add a way into VAULT: a passphrase, a phone, both together, some of several phones, or a recovery code.

    VAULT is opened through a slot that it has. The new slot is tried before it is written; a new phone is asked for that. A passphrase
    and --new-phone make one slot that needs both.
    """
    passphrase, code = typed or new_passphrase_file is not None, recovery or new_recovery_file is not None
    if code == (passphrase or bool(new_phones)) or (typed and new_passphrase_file is not None):
        raise click.UsageError(
            "give a passphrase (--passphrase or --new-passphrase-file), --new-phone, both, or --recovery or --new-recovery-file"
        )
    if passphrase and len(new_phones) > 1:
        raise click.UsageError("a slot for several phones has no passphrase")
    new = phones.chosen_for_new_slot(new_phones, threshold)
    with opened_vault(vault.place, phone_names, passphrase_file, recovery_file) as opened:
        if code:
            made = _add_recovery(opened, new_recovery_file, label)
            say(f"added slot {made}")
            return
        secret = ask_new_passphrase(new_passphrase_file) if passphrase else None
        try:
            if threshold is not None:
                made = _add_phones(opened, new, threshold, label, unproved)
            elif new:
                made = _add_phone(opened, new[0], secret, label, unproved)
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
    vault: Given,
    slot_id: int,
    phone_names: tuple[str, ...],
    passphrase_file: str | None,
    recovery_file: str | None,
) -> None:
    """Remove a slot of VAULT, which must be opened through another one.

    So the last way in cannot be removed. Who kept an old copy of the vault and the slot's secret can still open that copy.
    """
    from phonevault import slots

    with opened_vault(vault.place, phone_names, passphrase_file, recovery_file) as opened:
        gone = slots.remove(opened, slot_id)
    say(f"removed slot {gone.id} ({gone.kind}: {printable(gone.label)})")
    note("whoever kept a copy of the old header can still open old copies of the vault through it")


@slot.command()
@vault_argument
@opening_options
def test(
    vault: Given, phone_names: tuple[str, ...], passphrase_file: str | None, recovery_file: str | None
) -> None:
    """Prove that a slot opens VAULT, without mounting it."""
    from phonevault.vault import prove

    with opened_vault(vault.place, phone_names, passphrase_file, recovery_file) as opened:
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

    with opened_vault(vault.place, (), passphrase_file or "-", None) as opened:
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


def _add_phones(
    opened: OpenedVault, new: list[PairedPhone], threshold: int, label: str | None, unproved: bool
) -> str:
    """A slot for some of several phones. All of them are asked: so every share and every subset is tried."""
    from keyslots.build import PhonesSlotRequest
    from phonevault.daemon.keys import phone_opener
    from phonevault.daemon.quorum import Quorum

    called = label or phones.group_label([phone.name for phone in new], threshold)
    request = PhonesSlotRequest(tuple(phone.public_key_der for phone in new), threshold, called)
    if unproved:
        return _add(opened, request, None)
    session = Quorum([phones.member(phone) for phone in new], len(new)).connect(phones.CONNECT_TIMEOUT_S)
    try:
        opener = phone_opener(session, "", _reason(opened))
        return _add(_also_told(opened, new, session), request, opener)
    finally:
        session.close()


def _reason(opened: OpenedVault) -> str:
    return f"add this phone to the folder {opened.path.name}"


def _add_phone(
    opened: OpenedVault, phone: PairedPhone, secret: bytearray | None, label: str | None, unproved: bool
) -> str:
    """A slot for a phone, or for a phone and a passphrase together."""
    from keyslots.build import PhonePassphraseSlotRequest, PhoneSlotRequest
    from phonevault.daemon.keys import phone_opener

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
        opener = phone_opener(session, phone.fingerprint, _reason(opened), secret)
        return _add(_also_told(opened, [phone], session), request, opener)
    finally:
        session.close()


def _also_told(opened: OpenedVault, new: list[PairedPhone], session: Rememberer) -> OpenedVault:
    """The new phones remember the header that they are in, beside those that opened the vault."""
    from keyslots.header import phone_parts

    told, before = tell_now(", ".join(phone.name for phone in new), session), opened.on_write
    opened_by = {part.fingerprint.hex() for part in phone_parts(opened.slot.kem)}
    if opened_by & {phone.fingerprint for phone in new}:
        return dataclasses.replace(opened, on_write=told)  # a phone has one connection for us
    return dataclasses.replace(opened, on_write=lambda mark: (told(mark), before(mark)))


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
