"""The ways into a vault that a command was given: a phone, or a secret as typed; and the vault opened by one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from phonevault.daemon.keys import KeySource, phone_opener
from phonevault.daemon.link import CONNECT_TIMEOUT_S, PhoneSession
from phonevault.daemon.quorum import Member, Quorum

if TYPE_CHECKING:
    from keyslots.header import Header
    from phonevault.vault import OpenedVault, SlotOpener


@dataclass(frozen=True)
class PhoneWay:
    """The vault is opened by a paired phone.

    Attributes:
        name: The phone's name.
        fingerprint: Of its RSA key, pinned when it was paired (hex).
        connect: Opens an authenticated session within so many seconds.
        passphrase: As typed, for a slot that needs both; wiped once it was used.
    """

    name: str
    fingerprint: str
    connect: Callable[[float], PhoneSession]
    passphrase: bytearray | None = field(default=None, repr=False)

    @property
    def method(self) -> str:
        """As in `status`."""
        return "phone" if self.passphrase is None else "phone+passphrase"

    def wipe(self) -> None:
        """Overwrite the passphrase; that there was one stays known."""
        if self.passphrase is not None:
            self.passphrase[:] = bytes(len(self.passphrase))


@dataclass(frozen=True)
class SecretWay:
    """The vault is opened by a passphrase or a recovery code.

    Attributes:
        method: "passphrase" or "recovery".
        secret: As typed, UTF-8; wiped once it was used.
    """

    method: str
    secret: bytearray = field(repr=False)

    def wipe(self) -> None:
        """Overwrite the secret."""
        self.secret[:] = bytes(len(self.secret))


@dataclass(frozen=True)
class PhonesWay(PhoneWay):
    """The vault is opened by several phones together; `connect` gathers them.

    Attributes:
        members: The phones that may take part.
    """

    members: tuple[Member, ...] = ()


Way = PhoneWay | SecretWay


def phones_way(members: Sequence[Member], needed: int) -> PhonesWay:
    """The way of some phones of several."""
    names = ", ".join(member.name for member in members)
    return PhonesWay(f"{needed} of {names}", "", Quorum(members, needed).connect, members=tuple(members))


def phones_of(way: Way) -> dict[str, str]:
    """The names of a way's phones by the fingerprints of their keys (hex)."""
    if isinstance(way, PhonesWay):
        return {member.fingerprint: member.name for member in way.members}
    return {way.fingerprint: way.name} if isinstance(way, PhoneWay) else {}


def has_slot(way: Way, header: Header) -> bool:
    """Whether a header has a slot for a way's phones (of several: for all that may take part), or it is none of phones."""
    from keyslots.header import phone_part
    from keyslots.slots.phones import PhonesKem

    mine = phones_of(way).keys()
    if not isinstance(way, PhonesWay):
        parts = (phone_part(slot.kem) for slot in header.slots)
        return not mine or any(part and part.fingerprint.hex() in mine for part in parts)
    groups = (slot.kem.phones for slot in header.slots if isinstance(slot.kem, PhonesKem))
    return any(mine <= {part.fingerprint.hex() for part in group} for group in groups)


def fingerprint_of(way: Way) -> str:
    """The RSA key that a way stands for (hex), or "" if it is not that of one phone."""
    return way.fingerprint if isinstance(way, PhoneWay) else ""


@contextlib.contextmanager
def opener_of(way: Way, reason: str) -> Iterator[SlotOpener]:
    """What opens slots by a way; the phone's session is closed and a secret wiped at the end.

    Args:
        way: A phone or a secret.
        reason: What the phone shows when it asks its user.

    Raises:
        LinkError: The phone is not there.
        BadRecoveryCode: It is none.
    """
    from phonevault.vault import PassphraseOpener, RecoveryOpener

    if isinstance(way, PhoneWay):
        session: Any = None
        try:
            session = way.connect(CONNECT_TIMEOUT_S)
            yield phone_opener(session, way.fingerprint, reason, way.passphrase)
        finally:
            way.wipe()
            if session is not None:
                session.close()
        return
    try:
        if way.method == "passphrase":
            yield PassphraseOpener(way.secret)
            return
        opener = RecoveryOpener(way.secret)
        try:
            yield opener
        finally:
            opener.wipe()
    finally:
        way.wipe()


def open_by(source: KeySource, way: Way) -> tuple[PhoneSession | None, OpenedVault]:
    """Open a vault.

    Returns:
        The phone's session if there is one, for the caller to close, and the opened vault, for the caller to wipe.

    Raises:
        KeyslotsError: The header is damaged or tampered with, or the way does not fit.
        LinkError: The phone refused or is not there.
    """
    if isinstance(way, SecretWay):
        try:
            return None, source.by_secret(way.method, way.secret)
        finally:
            way.wipe()
    session = None
    try:
        session = way.connect(CONNECT_TIMEOUT_S)
        return session, source.by_phone(session, way.passphrase)
    except BaseException:
        if session is not None:
            session.close()
        raise
    finally:
        way.wipe()
