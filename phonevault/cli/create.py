"""`phonevault create`."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from phonevault.cli import phones
from phonevault.cli.info import cipher_text
from phonevault.cli.new_passphrase import ask_new_passphrase, cost_here
from phonevault.cli.output import note, say
from phonevault.cli.recovery_output import check_can_be_given, code_file, give_code
from phonevault.cli.where import Given, vault_argument
from phonevault.daemon.places import check_cipher

if TYPE_CHECKING:
    from keyslots.place import Place
    from phone_link.host.phone_book import PairedPhone
    from phone_link.host.session import PhoneSession
    from phonevault.vault import CreatedVault

CIPHERS = ("aes-256-gcm", "aes-256-xts")


@click.command()
@vault_argument
@click.option(
    "--phone", "phone_name", metavar="NAME", help="The phone that opens it; else the only paired one."
)
@click.option("--no-phone", is_flag=True, help="No phone opens it: a passphrase or the recovery code only.")
@click.option("--passphrase-file", metavar="F", help="Let the passphrase in F open it, too ('-': stdin).")
@click.option("--recovery-file", metavar="OUT", help="Write the recovery code to OUT (new, mode 0600).")
@click.option(
    "--cipher",
    type=click.Choice(CIPHERS),
    default=CIPHERS[0],
    show_default=True,
    help="aes-256-xts is faster on large files, and notices no change of them.",
)
def create(
    vault: Given,
    phone_name: str | None,
    no_phone: bool,
    passphrase_file: str | None,
    recovery_file: str | None,
    cipher: str,
) -> None:
    """Make a vault in the new or empty directory VAULT.

    With --header its header goes to the new FILE instead, and every later command with VAULT needs the option.
    It has a recovery code besides the phone. The code is written to a file or shown once on the terminal.
    Each way in is tried before the command says that the vault is there; the phone's user is asked for that.
    """
    if no_phone and phone_name is not None:
        raise click.UsageError("--phone and --no-phone exclude each other")
    from phonevault.daemon.harden import forbid_dumps

    check_cipher(cipher)
    forbid_dumps()
    check_can_be_given(recovery_file, "--recovery-file")
    phone = _choose_phone(phone_name, no_phone, passphrase_file)
    passphrase = ask_new_passphrase(passphrase_file) if passphrase_file is not None else None
    try:
        with _connected(phone) as session, code_file(recovery_file) as descriptor:
            made = _make(vault.place, cipher, phone, passphrase)
            try:
                with _removed_on_failure(made):
                    _try_slots(made, phone, session, passphrase)
                    give_code(made.recovery_code or "", descriptor)
            finally:
                made.wipe()
    finally:
        if passphrase is not None:
            passphrase[:] = bytes(len(passphrase))
    say(f"made {vault}: {cipher_text(cipher)}, opened by {_ways(phone, passphrase_file)}")


def _choose_phone(name: str | None, no_phone: bool, passphrase_file: str | None) -> PairedPhone | None:
    if no_phone:
        return None
    book = phones.phone_book()
    if name is None and passphrase_file is not None and not book.list():
        note("no phone is paired: the vault gets no phone slot")
        return None
    return book.get(name)


@contextlib.contextmanager
def _connected(phone: PairedPhone | None) -> Iterator[PhoneSession | None]:
    """Connect first: without the phone nothing is made."""
    if phone is None:
        yield None
        return
    session = phones.connector(phone)(phones.CONNECT_TIMEOUT_S)
    try:
        yield session
    finally:
        session.close()


def _make(place: Place, cipher: str, phone: PairedPhone | None, passphrase: bytearray | None) -> CreatedVault:
    from phonevault import vault as vaults

    slots: list[vaults.PhoneSlotRequest | vaults.PassphraseSlotRequest | vaults.RecoverySlotRequest] = []
    if phone is not None:
        slots.append(vaults.PhoneSlotRequest(phone.public_key_der, label=phone.name))
    if passphrase is not None:
        slots.append(vaults.PassphraseSlotRequest(passphrase, cost=cost_here()))
    slots.append(vaults.RecoverySlotRequest())
    return vaults.create(place, cipher=cipher, slots=slots)


def _try_slots(
    made: CreatedVault,
    phone: PairedPhone | None,
    session: PhoneSession | None,
    passphrase: bytearray | None,
) -> None:
    """Open the vault through each of its slots, from what is on disk."""
    from phonevault import vault as vaults

    if phone is not None and session is not None:
        reason = f"make the folder {made.path.name}"
        vaults.test_slot(made.place, vaults.PhoneOpener(session, phone.fingerprint, reason))
    if passphrase is not None:
        vaults.test_slot(made.place, vaults.PassphraseOpener(passphrase))
    if made.recovery_code is None:
        raise RuntimeError("a vault was made without a recovery code")
    opener = vaults.RecoveryOpener(made.recovery_code)
    try:
        vaults.test_slot(made.place, opener)
    finally:
        opener.wipe()


@contextlib.contextmanager
def _removed_on_failure(made: CreatedVault) -> Iterator[None]:
    """Take a vault away again whose slots do not open, or whose code could not be given. It is empty."""
    try:
        yield
    except BaseException:
        place = made.place
        shutil.rmtree(place.tree, ignore_errors=True)
        for name in (place.main, place.backup):
            (place.directory / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            place.vault.rmdir()
        raise


def _ways(phone: PairedPhone | None, passphrase_file: str | None) -> str:
    ways = [f"the phone {phone.name}"] if phone is not None else []
    ways += ["a passphrase"] if passphrase_file is not None else []
    return ", ".join(ways) + (" and " if ways else "") + "the recovery code"
