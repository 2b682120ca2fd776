"""Where a mount's keys come from, again and again: the header on disk and one of its ways in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phonevault.daemon.quorum import QuorumSession
from phonevault.errors import PhonevaultError

if TYPE_CHECKING:
    from keyslots.place import Place
    from phonevault.vault import OpenedVault, SlotOpener


class VaultReplaced(PhonevaultError):
    """The vault on disk is no longer the one that was mounted."""

    hint = "unmount, look at the vault with `phonevault info`, and mount again"


def phone_opener(
    session: Any, fingerprint: str, reason: str, passphrase: bytearray | None = None
) -> SlotOpener:
    """What opens slots through an open session.

    Args:
        session: A phone's, or a `QuorumSession` with several.
        fingerprint: Of the one phone's key, pinned when it was paired (hex).
        reason: What a phone shows when it asks its user.
        passphrase: For a slot that needs both; the caller wipes it.
    """
    from phonevault.vault import PhoneOpener, PhonePassphraseOpener, PhonesOpener

    if isinstance(session, QuorumSession):
        return PhonesOpener([PhoneOpener(one, who.fingerprint, reason) for who, one in session.parts])
    phone = PhoneOpener(session, fingerprint, reason)
    return phone if passphrase is None else PhonePassphraseOpener(phone, passphrase)


@dataclass(frozen=True)
class KeySource:
    """Opens the vault of one mount.

    Attributes:
        place: VAULT, and where its header is.
        fingerprint: Of the RSA key pinned when the phone was paired (hex), or "" without a phone.
    """

    place: Place
    fingerprint: str = ""

    def by_phone(
        self, session: Any, passphrase: bytearray | None = None, reason: str = "open the folder"
    ) -> OpenedVault:
        """Have the phone of an open session unwrap the key.

        Args:
            session: The phone's, or that of several.
            passphrase: For a slot that needs both; the caller wipes it.
            reason: What the phone shows its user, before the folder's name.

        Raises:
            LinkError: The phone refused or is gone.
            KeyslotsError: The header is damaged or tampered with, or the phone does not fit.
        """
        shown = f"{reason} {self.place.vault.name}"
        return self._open(phone_opener(session, self.fingerprint, shown, passphrase))

    def by_secret(self, method: str, secret: bytearray) -> OpenedVault:
        """Open the vault with a passphrase or a recovery code as typed; the caller wipes `secret`.

        Args:
            method: "passphrase" or "recovery".
            secret: UTF-8.

        Raises:
            KeyslotsError: The header is damaged or tampered with, or the secret does not fit.
        """
        from phonevault.vault import PassphraseOpener, RecoveryOpener

        if method == "passphrase":
            return self._open(PassphraseOpener(secret))
        opener = RecoveryOpener(secret)
        try:
            return self._open(opener)
        finally:
            opener.wipe()

    def _open(self, opener: SlotOpener) -> OpenedVault:
        from phonevault.vault import open_vault

        return open_vault(self.place, opener)


@dataclass
class Identified:
    """A key source that refuses another vault than the one mounted.

    Attributes:
        source: The key source; another one when the header has moved.
        vault_id: Of the mounted vault.
        cipher: Of the mounted vault.
        block_size: Of the mounted vault, bytes.
    """

    source: KeySource
    vault_id: bytes
    cipher: str
    block_size: int

    @contextlib.contextmanager
    def header_moved(self, file: Path | None) -> Iterator[None]:
        """Look for the header elsewhere, and from then on if the folder opens so; None: where it was."""
        before = self.source
        if file is not None:
            self.source = replace(before, place=replace(before.place, file=file))
        try:
            yield
        except BaseException:
            self.source = before
            raise

    def by_phone(
        self, session: Any, passphrase: bytearray | None = None, reason: str = "open the folder"
    ) -> OpenedVault:
        """As `KeySource.by_phone`; `VaultReplaced` if it is another vault."""
        return self._checked(self.source.by_phone(session, passphrase, reason))

    def by_secret(self, method: str, secret: bytearray) -> OpenedVault:
        """As `KeySource.by_secret`; `VaultReplaced` if it is another vault."""
        return self._checked(self.source.by_secret(method, secret))

    def _checked(self, opened: OpenedVault) -> OpenedVault:
        header = opened.header
        found = (header.vault_id, header.cipher, header.block_size)
        if found != (self.vault_id, self.cipher, self.block_size):
            opened.wipe()
            raise VaultReplaced(f"{self.source.place.vault} is not the vault that was mounted")
        return opened
