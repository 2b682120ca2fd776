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
    from phonevault.daemon.quorum import QuorumSession
    from phonevault.vault import CreatedVault, NewSlot

CIPHERS = ("aes-256-gcm", "aes-256-xts")


@click.command()
@vault_argument
@click.option(
    "--phone",
    "phone_names",
    metavar="NAME",
    multiple=True,
    help="The phone that opens it; else the only paired one.",
)
@click.option(
    "--threshold", type=int, metavar="N", help="With several --phone: any N of them together open it."
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
    phone_names: tuple[str, ...],
    threshold: int | None,
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
    if no_phone and (phone_names or threshold is not None):
        raise click.UsageError("--no-phone excludes --phone and --threshold")
    from phonevault.daemon.harden import forbid_dumps

    check_cipher(cipher)
    forbid_dumps()
    chosen = _choose_phones(phone_names, threshold, no_phone, passphrase_file)
    with_code = _has_code(bool(chosen), passphrase_file, recovery_file, single_slot)
    if with_code:
        check_can_be_given(recovery_file, "--recovery-file")
    passphrase = ask_new_passphrase(passphrase_file) if passphrase_file is not None else None
    try:
        with _connected(chosen) as session, code_file(recovery_file) as descriptor:
            made = _make(vault.place, cipher, _slots(chosen, threshold, passphrase, with_code))
            try:
                with _removed_on_failure(made):
                    _try_slots(made, chosen, session, passphrase)
                    _try_code(made, recovery_file, descriptor)
            finally:
                made.wipe()
    finally:
        if passphrase is not None:
            passphrase[:] = bytes(len(passphrase))
    ways = _ways(chosen, threshold, passphrase_file is not None, with_code)
    say(f"made {vault}: {cipher_text(cipher)}, opened by {ways}")
    if single_slot:
        warn("it has one way in: whoever loses that loses the vault (`phonevault slot add` makes another)")


def _has_code(
    phones_open: bool, passphrase_file: str | None, recovery_file: str | None, single_slot: bool
) -> bool:
    """Whether the vault gets a recovery code: always, but with `--single-slot` beside another way.

    Raises:
        PhonevaultError: it would have one way in without `--single-slot`, or several with it.
    """
    others = phones_open + (passphrase_file is not None)
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


def _choose_phones(
    names: tuple[str, ...], threshold: int | None, no_phone: bool, passphrase_file: str | None
) -> list[PairedPhone]:
    """The phones of the vault's one phone slot, or none."""
    if no_phone:
        return []
    if names or threshold is not None:
        return phones.chosen_for_new_slot(names, threshold)
    book = phones.phone_book()
    if passphrase_file is not None and not book.list():
        note("no phone is paired: the vault gets no phone slot")
        return []
    return [book.get(None)]


@contextlib.contextmanager
def _connected(chosen: list[PairedPhone]) -> Iterator[PhoneSession | QuorumSession | None]:
    """Connect first, to each: without the phones nothing is made."""
    if not chosen:
        yield None
        return
    session: PhoneSession | QuorumSession
    if len(chosen) == 1:
        session = phones.connector(chosen[0])(phones.CONNECT_TIMEOUT_S)
    else:
        from phonevault.daemon.quorum import Quorum

        members = [phones.member(phone) for phone in chosen]
        session = Quorum(members, len(members)).connect(phones.CONNECT_TIMEOUT_S)
    try:
        yield session
    finally:
        session.close()


def _slots(
    chosen: list[PairedPhone], threshold: int | None, passphrase: bytearray | None, with_code: bool
) -> list[NewSlot]:
    from phonevault import vault as vaults

    slots: list[NewSlot] = []
    if threshold is not None:
        label = phones.group_label([phone.name for phone in chosen], threshold)
        keys = tuple(phone.public_key_der for phone in chosen)
        slots.append(vaults.PhonesSlotRequest(keys, threshold, label))
    else:
        slots += [vaults.PhoneSlotRequest(phone.public_key_der, label=phone.name) for phone in chosen]
    if passphrase is not None:
        slots.append(vaults.PassphraseSlotRequest(passphrase, cost=cost_here()))
    if with_code:
        slots.append(vaults.RecoverySlotRequest())
    return slots


def _make(place: Place, cipher: str, slots: list[NewSlot]) -> CreatedVault:
    from phonevault import vault as vaults

    return vaults.create(place, cipher=cipher, slots=slots)


def _try_slots(
    made: CreatedVault,
    chosen: list[PairedPhone],
    session: PhoneSession | QuorumSession | None,
    passphrase: bytearray | None,
) -> None:
    """Open the vault through the slots of the phones and the passphrase, from what is on disk."""
    from phonevault import vault as vaults
    from phonevault.daemon.keys import phone_opener

    if session is not None:
        opener = phone_opener(session, chosen[0].fingerprint, f"make the folder {made.path.name}")
        vaults.test_slot(made.place, opener)
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


def _ways(chosen: list[PairedPhone], threshold: int | None, passphrase: bool, with_code: bool) -> str:
    names = ", ".join(phone.name for phone in chosen)
    ways = (
        [f"the phone {names}" if threshold is None else f"any {threshold} of the phones {names}"]
        if chosen
        else []
    )
    ways += ["a passphrase"] if passphrase else []
    ways += ["the recovery code"] if with_code else []
    return ", ".join(ways[:-1]) + (" and " if ways[1:] else "") + ways[-1]
