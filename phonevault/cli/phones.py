"""Paired phones: the book, this computer's identity, and how a phone is reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from phonevault.paths import bluetooth_dir, config_dir, identity_file, private_dir

if TYPE_CHECKING:
    from keyslots.header import Header
    from phone_link.host.identity import HostIdentity
    from phone_link.host.phone_book import PairedPhone, PhoneBook
    from phone_link.host.session import PhoneSession
    from phone_link.transport.base import TransportOptions

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
    """Return the fingerprints of a header's phone slots (hex)."""
    from keyslots.header import phone_part

    return {part.fingerprint.hex() for slot in header.slots if (part := phone_part(slot.kem))}
