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
from phonevault.cli.output import note, say, warn
from phonevault.cli.recovery_output import check_can_be_given, code_back, code_file, give_code
from phonevault.cli.where import Given, vault_argument
from phonevault.daemon.places import check_cipher
from phonevault.errors import PhonevaultError

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
@click.option("--no-phone", is_flag=True, help="No phone opens it: a passphrase and the recovery code only.")
@click.option("--passphrase-file", metavar="F", help="Let the passphrase in F open it, too ('-': stdin).")
@click.option("--recovery-file", metavar="OUT", help="Write the recovery code to OUT (new, mode 0600).")
@click.option("--single-slot", is_flag=True, help="One way in only, and no recovery code besides.")
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
    single_slot: bool,
    cipher: str,
) -> None:
    """Make a vault in the new or empty directory VAULT.

    With --header its header goes to the new FILE instead, and every later command with VAULT needs the option.
    It has a recovery code besides the phone or the passphrase: written to a file, or shown once on the terminal.
    Each way in must open the vault before the command says that it is there: the phone's user is asked, the file is read
    back, a code on the terminal is to be typed back. A vault with one way in is made with --single-slot only.
    """
    if no_phone and phone_name is not None:
        raise click.UsageError("--phone and --no-phone exclude each other")
    from phonevault.daemon.harden import forbid_dumps

    check_cipher(cipher)
    forbid_dumps()
    phone = _choose_phone(phone_name, no_phone, passphrase_file)
    with_code = _has_code(phone, passphrase_file, recovery_file, single_slot)
    if with_code:
        check_can_be_given(recovery_file, "--recovery-file")
    passphrase = ask_new_passphrase(passphrase_file) if passphrase_file is not None else None
    try:
        with _connected(phone) as session, code_file(recovery_file) as descriptor:
            made = _make(vault.place, cipher, phone, passphrase, with_code)
            try:
                with _removed_on_failure(made):
                    _try_slots(made, phone, session, passphrase)
                    _try_code(made, recovery_file, descriptor)
            finally:
                made.wipe()
    finally:
        if passphrase is not None:
            passphrase[:] = bytes(len(passphrase))
    say(f"made {vault}: {cipher_text(cipher)}, opened by {_ways(phone, passphrase_file, with_code)}")
    if single_slot:
        warn("it has one way in: whoever loses that loses the vault (`phonevault slot add` makes another)")


def _has_code(
    phone: PairedPhone | None, passphrase_file: str | None, recovery_file: str | None, single_slot: bool
) -> bool:
    """Whether the vault gets a recovery code: always, but with `--single-slot` beside another way.

    Raises:
        PhonevaultError: it would have one way in without `--single-slot`, or several with it.
    """
    others = (phone is not None) + (passphrase_file is not None)
    if not single_slot:
        if not others:
            raise PhonevaultError(
                "the recovery code would be the only way into this vault",
                "add --passphrase-file F or a phone; or say that one way is meant: --single-slot",
            )
        return True
    if others > 1 or (others and recovery_file is not None):
        raise PhonevaultError(
            "--single-slot makes one way in, and this would be several",
            "give one of: --phone NAME, --no-phone --passphrase-file F, --no-phone --recovery-file OUT",
        )
    return not others


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


def _make(
    place: Place, cipher: str, phone: PairedPhone | None, passphrase: bytearray | None, with_code: bool
) -> CreatedVault:
    from phonevault import vault as vaults

    slots: list[vaults.PhoneSlotRequest | vaults.PassphraseSlotRequest | vaults.RecoverySlotRequest] = []
    if phone is not None:
        slots.append(vaults.PhoneSlotRequest(phone.public_key_der, label=phone.name))
    if passphrase is not None:
        slots.append(vaults.PassphraseSlotRequest(passphrase, cost=cost_here()))
    if with_code:
        slots.append(vaults.RecoverySlotRequest())
    return vaults.create(place, cipher=cipher, slots=slots)


def _try_slots(
    made: CreatedVault,
    phone: PairedPhone | None,
    session: PhoneSession | None,
    passphrase: bytearray | None,
) -> None:
    """Open the vault through the slots of the phone and the passphrase, from what is on disk."""
    from phonevault import vault as vaults

    if phone is not None and session is not None:
        reason = f"make the folder {made.path.name}"
        vaults.test_slot(made.place, vaults.PhoneOpener(session, phone.fingerprint, reason))
    if passphrase is not None:
        vaults.test_slot(made.place, vaults.PassphraseOpener(passphrase))


def _try_code(made: CreatedVault, recovery_file: str | None, descriptor: int | None) -> None:
    """Give the recovery code, if there is one, and open the vault with what came back of it."""
    from phonevault import vault as vaults

    if made.recovery_code is None:
        return
    give_code(made.recovery_code, descriptor)
    opener = vaults.RecoveryOpener(code_back(made.recovery_code, recovery_file))
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


def _ways(phone: PairedPhone | None, passphrase_file: str | None, with_code: bool) -> str:
    ways = [f"the phone {phone.name}"] if phone is not None else []
    ways += ["a passphrase"] if passphrase_file is not None else []
    ways += ["the recovery code"] if with_code else []
    return ", ".join(ways[:-1]) + (" and " if ways[1:] else "") + ways[-1]
