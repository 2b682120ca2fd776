"""Paired phones: the book, this computer's identity, and how a phone is reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from phonevault.paths import bluetooth_dir, config_dir, identity_file, private_dir

if TYPE_CHECKING:
    from keyslots.header import Header
    from keyslots.slots.phones import PhonesKem
    from phone_link.host.identity import HostIdentity
    from phone_link.host.phone_book import PairedPhone, PhoneBook
    from phone_link.host.session import PhoneSession
    from phone_link.transport.base import TransportOptions
    from phonevault.daemon.quorum import Member
    from phonevault.daemon.ways import PhonesWay

MAX_PHONES = 8
"""Of one slot: docs/format.md 1.3."""
MAX_LABEL = 64
CONNECT_TIMEOUT_S = 6.0


def phone_book() -> PhoneBook:
    """The book of this user."""
    from phone_link.host.phone_book import PhoneBook

    return PhoneBook(config_dir())


def identity() -> HostIdentity:
    """This computer's key, made if there is none."""
    from phone_link.host.identity import HostIdentity

    private_dir(config_dir())
    return HostIdentity.load_or_create(identity_file())


def transport_options(*, pairing: bool = False) -> TransportOptions:
    """Where transports keep their state, and whether Bluetooth may pair."""
    from phone_link.transport.base import TransportOptions

    return TransportOptions(state_dir=bluetooth_dir(), pairing=pairing)


def connector(phone: PairedPhone) -> Callable[[float], PhoneSession]:
    """Return what opens a session with a phone within so many seconds."""
    known_as = identity()
    options = transport_options()

    def connect(timeout_s: float) -> PhoneSession:
        from phone_link.host.connect import connect_phone

        return connect_phone(phone, known_as, timeout_s, options)

    return connect


def phone_for(header: Header, name: str | None) -> PairedPhone:
    """Return the paired phone that is to open a vault.

    Args:
        header: The vault's, not verified.
        name: As given by the user; None for the one paired phone that has a slot.

    Raises:
        UnknownPhone: There is none of this name, or not exactly one that has a slot.
    """
    from phone_link.errors import UnknownPhone

    book = phone_book()
    if name is not None:
        return book.get(name)
    paired = book.list()
    if not paired:
        raise UnknownPhone("no phone is paired", hint="pair one: phonevault phone pair SPEC")
    wanted = phone_fingerprints(header)
    fitting = [phone for phone in paired if phone.fingerprint in wanted]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise UnknownPhone(
            "no paired phone opens this vault",
            hint="use the recovery code (--recovery-file), or pair the phone it was made with",
        )
    names = ", ".join(phone.name for phone in fitting)
    raise UnknownPhone("several paired phones open this vault", hint=f"name one with --phone: {names}")


def phone_fingerprints(header: Header) -> set[str]:
    """Return the fingerprints of the phones that open a vault without another phone (hex)."""
    from keyslots.header import phone_part

    return {part.fingerprint.hex() for slot in header.slots if (part := phone_part(slot.kem))}


def member(phone: PairedPhone) -> Member:
    """Return a paired phone as one of several."""
    from phonevault.daemon.quorum import Member

    return Member(phone.name, phone.fingerprint, connector(phone))


def group_for(header: Header, names: tuple[str, ...]) -> PhonesWay | None:
    """Return the paired phones that are to open a vault together, or None if one phone is to do it alone.

    Args:
        header: The vault's, not verified.
        names: As given by the user: these come first, and if they are enough, no other is asked.

    Raises:
        UnknownPhone: There is none of such a name, or too few phones of a slot are paired.
        WrongPhone: Those named are not in one slot.
    """
    from keyslots.slots.phones import PhonesKem
    from phonevault.daemon.ways import phones_way

    book = phone_book()
    named, alone = [book.get(name) for name in names], phone_fingerprints(header)
    paired = book.list()
    if len(named) < 2 and any(phone.fingerprint in alone for phone in named or paired):
        return None
    groups = [slot.kem for slot in header.slots if isinstance(slot.kem, PhonesKem)]
    fitting = [kem for kem in groups if _all_in(named, kem)]
    for kem in fitting:
        others = [phone for phone in paired if phone not in named and _all_in([phone], kem)]
        chosen = named if len(named) >= kem.threshold else named + others
        if len(chosen) >= kem.threshold:
            return phones_way([member(phone) for phone in chosen], kem.threshold)
    if len(named) > 1 or fitting:
        raise _no_group(fitting, len(named))
    return None


def _all_in(some: list[PairedPhone], kem: PhonesKem) -> bool:
    return {phone.fingerprint for phone in some} <= {part.fingerprint.hex() for part in kem.phones}


def _no_group(fitting: list[PhonesKem], named: int) -> Exception:
    from keyslots.errors import WrongPhone
    from phone_link.errors import UnknownPhone

    if not fitting:
        return WrongPhone(f"no slot of this vault is for these {named} phones")
    kem = fitting[0]
    return UnknownPhone(
        f"{kem.threshold} of {len(kem.phones)} phones open this vault, and fewer are paired with this computer",
        hint="pair another of them: phonevault phone pair SPEC; or use the recovery code (--recovery-file)",
    )


def chosen_for_new_slot(names: tuple[str, ...], threshold: int | None) -> list[PairedPhone]:
    """Return the paired phones of a new slot: one, or several with `--threshold`.

    Raises:
        UnknownPhone: There is none of such a name.
        click.UsageError: The number needed does not fit the phones.
    """
    if len(set(names)) < len(names):
        raise click.UsageError("the same phone was given twice")
    if threshold is None and len(names) > 1:
        raise click.UsageError("several phones: say with --threshold N how many of them are needed together")
    if threshold is not None and not 2 <= threshold <= len(names) <= MAX_PHONES:
        raise click.UsageError(f"--threshold N takes N of N to {MAX_PHONES} phones, and N is at least 2")
    return [phone_book().get(name) for name in names]


def group_label(names: list[str], threshold: int) -> str:
    """Return what to call a slot of several phones: at most 64 characters."""
    named = f"{threshold} of {', '.join(names)}"
    return named if len(named) <= MAX_LABEL else f"{threshold} of {len(names)} phones"


def all_fingerprints(header: Header) -> set[str]:
    """Return the fingerprints of all phones that have a part in a header's slots (hex)."""
    from keyslots.header import phone_parts

    return {part.fingerprint.hex() for slot in header.slots for part in phone_parts(slot.kem)}
