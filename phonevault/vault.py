"""The facade of a vault: create one, open one. Joins the header (`keyslots`) with its `openers`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from keyslots import recovery_code, store
from keyslots.build import (
    NewHeader,
    PassphraseSlotRequest,
    PhoneSlotRequest,
    new_header,
    new_recovery_code,
)
from keyslots.build import RecoverySlotRequest as _RecoverySlot
from keyslots.derive import header_key
from keyslots.envelope import SealedHeader
from keyslots.errors import NotMine, OtherVault
from keyslots.header import Header, Slot
from keyslots.memory import scrub_stack, wipe_str
from keyslots.secret import Secret
from keyslots.slots.passphrase import Cost
from keyslots.unlock import OpenedHeader, open_slot
from phonevault.durable import fsync_directory
from phonevault.errors import PhonevaultError
from phonevault.openers import (
    PassphraseOpener,
    PhoneOpener,
    PhonePassphraseOpener,
    RecoveryOpener,
    SlotOpener,
)
from phonevault.root_id import file_name, prove_root_id, write_root_id

__all__ = [
    "Cost",
    "CreatedVault",
    "OpenedVault",
    "PassphraseOpener",
    "PassphraseSlotRequest",
    "PhoneOpener",
    "PhonePassphraseOpener",
    "PhoneSlotRequest",
    "RecoveryOpener",
    "RecoverySlotRequest",
    "SlotOpener",
    "VaultDirectoryUnusable",
    "create",
    "open_sealed",
    "open_vault",
    "prove",
    "prove_before_change",
    "test_slot",
]


class VaultDirectoryUnusable(PhonevaultError):
    """A vault cannot be made there: not empty, not a directory, or it cannot be made."""

    hint = "give a path that does not exist yet, or an empty directory"


@dataclass(frozen=True)
class RecoverySlotRequest:
    """A slot for a new recovery code, which `create` makes and returns."""

    label: str = "recovery code"


@dataclass
class CreatedVault:
    """A new vault. `wipe` it after the recovery code was shown.

    Attributes:
        path: VAULT.
        header: as written.
        vmk: volume master key.
        recovery_code: to be shown once; None if no recovery slot was asked for.
    """

    path: Path
    header: Header
    vmk: Secret
    recovery_code: str | None = field(default=None, repr=False)

    @property
    def vault_id(self) -> bytes:
        """16 bytes."""
        return self.header.vault_id

    def wipe(self) -> None:
        """Wipe the volume master key and the recovery code."""
        self.vmk.wipe()
        if self.recovery_code is not None:
            wipe_str(self.recovery_code)
            self.recovery_code = None


@dataclass(frozen=True)
class OpenedVault:
    """A vault whose header is verified. `wipe` it as soon as the keys were derived.

    Attributes:
        path: VAULT.
        header: verified.
        slot: the one that opened it.
        vmks: volume master keys by epoch.
        warnings: what the user should be told about the header's copies.
    """

    path: Path
    header: Header
    slot: Slot
    vmks: dict[int, Secret]
    warnings: tuple[str, ...] = ()

    @property
    def vmk(self) -> Secret:
        """Volume master key of the current epoch."""
        return self.vmks[self.header.epochs.current]

    @property
    def tree(self) -> Path:
        """The ciphertext of the root directory."""
        return self.path / store.TREE

    def wipe(self) -> None:
        """Wipe all volume master keys."""
        for vmk in self.vmks.values():
            vmk.wipe()


def create(
    vault_dir: Path,
    *,
    cipher: str,
    slots: Sequence[PhoneSlotRequest | PassphraseSlotRequest | RecoverySlotRequest],
    block_size: int | None = None,
) -> CreatedVault:
    """Make a vault: header, tree and the root's directory id. On failure nothing of it stays.

    Args:
        vault_dir: a path that does not exist (its parent does), or an empty directory.
        cipher: `aes-256-gcm` or `aes-256-xts`.
        slots: 1 to 32, at most one of them a recovery slot.
        block_size: bytes of plaintext in a block or data unit; the cipher's default if omitted.

    Raises:
        VaultDirectoryUnusable: `vault_dir` is not empty or cannot be made.
        BadParameter, BadPassphrase, KdfMemory: a request is out of bounds.
        HeaderWriteFailed, OSError: disk full, permission, I/O error.
    """
    if sum(isinstance(request, RecoverySlotRequest) for request in slots) > 1:
        raise ValueError("a new vault has at most one recovery slot")
    _check_target(vault_dir)
    with new_recovery_code() as code:
        requests = [
            _RecoverySlot(code, request.label) if isinstance(request, RecoverySlotRequest) else request
            for request in slots
        ]
        new = new_header(requests, cipher, block_size)
        try:
            _write(vault_dir, new)
        except BaseException:
            new.vmk.wipe()
            raise
        shown = None
        if any(isinstance(request, _RecoverySlot) for request in requests):
            text = recovery_code.format_code(code)
            shown = text.decode("ascii")
            text[:] = bytes(len(text))
    scrub_stack()
    return CreatedVault(vault_dir, new.header, new.vmk, shown)


def open_vault(vault_dir: Path, opener: SlotOpener) -> OpenedVault:
    """Read the header, try the opener on each slot, verify the header.

    Raises:
        NotAVault, HeaderDamaged, HeaderTampered, HeaderTooNew, HeaderUnreadable: docs/format.md 1.1.
        WrongPassphrase, WrongRecoveryCode, WrongPhone: the secret opens no slot.
        phone_link.errors.LinkError: the phone refused or is gone.
        BadPassphrase, KdfMemory: the passphrase cannot be tried.
    """
    loaded = store.load(vault_dir)
    return open_sealed(vault_dir, loaded.sealed, opener, loaded.warnings)


def open_sealed(
    vault_dir: Path, sealed: SealedHeader, opener: SlotOpener, warnings: tuple[str, ...] = ()
) -> OpenedVault:
    """Try the opener on each slot of a header that was read, and verify the header.

    Raises:
        HeaderTampered, WrongKey, LinkError, BadPassphrase, KdfMemory: as for `open_vault`.
    """
    for slot in sealed.header.slots:
        try:
            secret = opener.unwrap(sealed.header, slot)
        except NotMine:
            continue
        with secret:
            return _opened(vault_dir, open_slot(sealed, slot, secret), warnings)
    raise opener.wrong_key(sealed.header)


def test_slot(vault_dir: Path, opener: SlotOpener) -> Slot:
    """Return the slot that `opener` opens, after verifying the header and the tree; all keys are wiped again.

    Raises:
        Everything that `open_vault` and `prove` do.
    """
    opened = open_vault(vault_dir, opener)
    try:
        prove(opened)
    finally:
        opened.wipe()
    return opened.slot


def prove(opened: OpenedVault) -> None:
    """Prove that the keys of an opened vault are those of its tree.

    Raises:
        DirectoryIdDamaged: the root's directory id does not open under them.
        OSError: it cannot be read.
    """
    vmk = opened.vmks[opened.header.epochs.names]
    prove_root_id(opened.tree, vmk, opened.header.vault_id)


def prove_before_change(opened: OpenedVault) -> None:
    """Prove an opened vault before its header is changed: a header that somebody put in the place of the user's opens no tree.

    Raises:
        OtherVault: its keys are not those of the tree.
        OSError: the root's directory id cannot be read.
    """
    from phonevault.fs.errors import DirectoryIdDamaged

    try:
        prove(opened)
    except DirectoryIdDamaged:
        raise OtherVault(
            "this header does not open the tree of this vault: nothing was changed",
            hint="somebody put it there, or the root's id is damaged: `phonevault check`; a backup: `phonevault header restore`",
        ) from None


def _opened(vault_dir: Path, opened: OpenedHeader, warnings: tuple[str, ...]) -> OpenedVault:
    return OpenedVault(vault_dir, opened.header, opened.slot, opened.vmks, warnings)


def _check_target(vault_dir: Path) -> None:
    """Refuse early, before a phone is asked or a passphrase derived."""
    try:
        if os.listdir(vault_dir):
            raise VaultDirectoryUnusable(f"{vault_dir} is not empty")
    except FileNotFoundError:
        if not vault_dir.parent.is_dir():
            raise VaultDirectoryUnusable(f"{vault_dir.parent} does not exist", hint="make it first") from None
    except NotADirectoryError:
        raise VaultDirectoryUnusable(f"{vault_dir} is not a directory") from None


def _write(vault_dir: Path, new: NewHeader) -> None:
    undo: list[Callable[[], None]] = []
    try:
        if not vault_dir.exists():
            vault_dir.mkdir(mode=0o700)
            undo.append(vault_dir.rmdir)
        tree = vault_dir / store.TREE
        tree.mkdir(mode=0o700)
        undo.append(tree.rmdir)
        undo.append(_remove(tree, file_name()))
        write_root_id(tree, new.vmk, new.header.vault_id)
        # The header comes last: with it the vault is complete.
        undo.extend(_remove(vault_dir, name) for name in (store.MAIN, store.BACKUP))
        with header_key(new.vmk, new.header.vault_id) as key:
            store.save_new(vault_dir, new.header, key)
        fsync_directory(vault_dir.parent)
    except BaseException:
        for step in reversed(undo):
            with contextlib.suppress(OSError):
                step()
        raise


def _remove(directory: Path, name: str) -> Callable[[], None]:
    return lambda: (directory / name).unlink(missing_ok=True)
