"""The ways into a vault that a command was given: a phone, or a secret as typed; and the vault opened by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from phonevault.daemon.keys import KeySource
from phonevault.daemon.link import CONNECT_TIMEOUT_S, PhoneSession

if TYPE_CHECKING:
    from phonevault.vault import OpenedVault


@dataclass(frozen=True)
class PhoneWay:
    """The vault is opened by a paired phone.

    Attributes:
        name: The phone's name.
        fingerprint: Of its RSA key, pinned when it was paired (hex).
        connect: Opens an authenticated session within so many seconds.
    """

    name: str
    fingerprint: str
    connect: Callable[[float], PhoneSession]


@dataclass(frozen=True)
class SecretWay:
    """The vault is opened by a passphrase or a recovery code.

    Attributes:
        method: "passphrase" or "recovery".
        secret: As typed, UTF-8; wiped once it was used.
    """

    method: str
    secret: bytearray = field(repr=False)


Way = PhoneWay | SecretWay


def fingerprint_of(way: Way) -> str:
    """The RSA key that a way stands for (hex), or "" if it is no phone."""
    return way.fingerprint if isinstance(way, PhoneWay) else ""


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
            way.secret[:] = bytes(len(way.secret))
    session = way.connect(CONNECT_TIMEOUT_S)
    try:
        return session, source.by_phone(session)
    except BaseException:
        session.close()
        raise
