"""The facade of a vault: create one, open one. Joins the header (`keyslots`) with its `openers`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from keyslots import recovery_code, store
from keyslots.build import (
    NewHeader,
    PassphraseSlotRequest,
    PhoneSlotRequest,
    PhonesSlotRequest,
    new_header,
    new_recovery_code,
)
from keyslots.build import RecoverySlotRequest as _RecoverySlot
from keyslots.derive import header_key
from keyslots.envelope import SealedHeader
from keyslots.errors import NotMine, OtherVault
from keyslots.header import Header, Slot
from keyslots.memory import scrub_stack, wipe_str
from keyslots.place import Place, Where, place_of
from keyslots.secret import Secret
from keyslots.slots.passphrase import Cost
from keyslots.unlock import OpenedHeader, open_slot
from phonevault.durable import fsync_directory
from phonevault.errors import PhonevaultError
from phonevault.newest_header import look
from phonevault.openers import (
    Mark,
    PassphraseOpener,
    PhoneOpener,
    PhonePassphraseOpener,
    PhonesOpener,
    RecoveryOpener,
    SlotOpener,
    mark_of,
)
from phonevault.root_id import file_name, prove_root_id, write_root_id

__all__ = [
    "Cost",
    "CreatedVault",
    "Mark",
    "NewSlot",
    "OpenedVault",
    "PassphraseOpener",
    "PassphraseSlotRequest",
    "PhoneOpener",
    "PhonePassphraseOpener",
    "PhoneSlotRequest",
    "PhonesOpener",
    "PhonesSlotRequest",
    "RecoveryOpener",
    "RecoverySlotRequest",
    "SlotOpener",
    "VaultDirectoryUnusable",
    "create",
    "mark_of",
    "open_sealed",
    "open_vault",
    "prove",
    "prove_before_change",
    "test_slot",
    "written",
]


class VaultDirectoryUnusable(PhonevaultError):
    """A vault cannot be made there: not empty, not a directory, or it cannot be made."""

    hint = "give a path that does not exist yet, or an empty directory"


@dataclass(frozen=True)
class RecoverySlotRequest:
    """A slot for a new recovery code, which `create` makes and returns."""

    label: str = "recovery code"


NewSlot = PhoneSlotRequest | PhonesSlotRequest | PassphraseSlotRequest | RecoverySlotRequest


@dataclass
class CreatedVault:
    """A new vault. `wipe` it after the recovery code was shown.

    Attributes:
        place: VAULT, and where its header is.
        header: as written.
        vmk: volume master key.
        recovery_code: to be shown once; None if no recovery slot was asked for.
    """

    place: Place
    header: Header
    vmk: Secret
    recovery_code: str | None = field(default=None, repr=False)

    @property
    def path(self) -> Path:
        """VAULT."""
        return self.place.vault

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
        place: VAULT, and where its header is.
        header: verified.
        slot: the one that opened it.
        vmks: volume master keys by epoch.
        warnings: what the user should be told about the header.
        on_write: told of each header that is written from now on, so that a phone remembers it. Raises nothing.
    """

    place: Place
    header: Header
    slot: Slot
    vmks: dict[int, Secret]
    warnings: tuple[str, ...] = ()
    on_write: Callable[[Mark], object] = field(default=lambda mark: None, compare=False, repr=False)

    @property
    def path(self) -> Path:
        """VAULT."""
        return self.place.vault

    @property
    def vmk(self) -> Secret:
        """Volume master key of the current epoch."""
        return self.vmks[self.header.epochs.current]

    @property
    def tree(self) -> Path:
        """The ciphertext of the root directory."""
        return self.place.tree

    def wipe(self) -> None:
        """Wipe all volume master keys."""
        for vmk in self.vmks.values():
            vmk.wipe()


def create(
    where: Where,
    *,
    cipher: str,
    slots: Sequence[NewSlot],
    block_size: int | None = None,
) -> CreatedVault:
    """Make a vault: header, tree and the root's directory id. On failure nothing of it stays.

    Args:
        where: a path that does not exist (its parent does), or an empty directory. A header kept apart is a new file outside of it.
        cipher: `aes-256-gcm` or `aes-256-xts`.
        slots: 1 to 32, at most one of them a recovery slot.
        block_size: bytes of plaintext in a block or data unit; the cipher's default if omitted.

    Raises:
        VaultDirectoryUnusable: the directory is not empty or cannot be made, or the header cannot be kept there.
        BadParameter, BadPassphrase, KdfMemory: a request is out of bounds.
        HeaderWriteFailed, OSError: disk full, permission, I/O error.
    """
    if sum(isinstance(request, RecoverySlotRequest) for request in slots) > 1:
        raise ValueError("a new vault has at most one recovery slot")
    place = place_of(where)
    _check_target(place)
    with new_recovery_code() as code:
        requests = [
            _RecoverySlot(code, request.label) if isinstance(request, RecoverySlotRequest) else request
            for request in slots
        ]
        new = new_header(requests, cipher, block_size)
        try:
            _write(place, new)
        except BaseException:
            new.vmk.wipe()
            raise
        shown = None
        if any(isinstance(request, _RecoverySlot) for request in requests):
            text = recovery_code.format_code(code)
            shown = text.decode("ascii")
            text[:] = bytes(len(text))
    scrub_stack()
    return CreatedVault(place, new.header, new.vmk, shown)


def open_vault(where: Where, opener: SlotOpener) -> OpenedVault:
    """Read the header, try the opener on each slot, verify the header.

    Raises:
        NotAVault, HeaderDamaged, HeaderTampered, HeaderTooNew, HeaderUnreadable, HeaderAway: docs/format.md 1.1, 1.7.
        WrongPassphrase, WrongRecoveryCode, WrongPhone: the secret opens no slot.
        phone_link.errors.LinkError: the phone refused or is gone.
        BadPassphrase, KdfMemory: the passphrase cannot be tried.
    """
    loaded = store.load(where)
    return open_sealed(where, loaded.sealed, opener, loaded.warnings)


def open_sealed(
    where: Where,
    sealed: SealedHeader,
    opener: SlotOpener,
    warnings: tuple[str, ...] = (),
    *,
    in_force: bool = True,
) -> OpenedVault:
    """Try the opener on each slot of a header that was read, and verify the header.

    A phone is shown the header before it decrypts anything of it, and remembers it once it has opened if it is `in_force`: the
    one that counts, not a backup.

    Raises:
        HeaderTampered, WrongKey, LinkError, BadPassphrase, KdfMemory: as for `open_vault`.
    """
    opener.reads(sealed)
    for slot in sealed.header.slots:
        try:
            secret = opener.unwrap(sealed.header, slot)
        except NotMine:
            continue
        with secret:
            opened = open_slot(sealed, slot, secret)
        try:
            told = opener.verified(mark_of(opened.header, opened.vmks)) if in_force else ()
        except BaseException:
            opened.wipe()
            raise
        return _opened(place_of(where), opened, (*warnings, *told))
    raise opener.wrong_key(sealed.header)


def test_slot(where: Where, opener: SlotOpener) -> Slot:
    """Return the slot that `opener` opens, after verifying the header and the tree; all keys are wiped again.

    Raises:
        Everything that `open_vault` and `prove` do.
    """
    opened = open_vault(where, opener)
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
    from phonevault.fs.errors import DirectoryIdDamaged

    header = opened.header
    if header.rotates_contents:
        with contextlib.suppress(DirectoryIdDamaged):
            prove_root_id(opened.tree, opened.vmk, header.vault_id)
            return
    prove_root_id(opened.tree, opened.vmks[header.epochs.names], header.vault_id)


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


def written(opened: OpenedVault, header: Header, vmks: Mapping[int, Secret] | None = None) -> None:
    """Say that a new header of an opened vault is on stable storage.

    Args:
        opened: the vault.
        header: as written.
        vmks: volume keys of its epochs; those of `opened` if omitted.
    """
    look(header)
    opened.on_write(mark_of(header, opened.vmks if vmks is None else vmks))


def _opened(place: Place, opened: OpenedHeader, warnings: tuple[str, ...]) -> OpenedVault:
    return OpenedVault(place, opened.header, opened.slot, opened.vmks, warnings)


def _check_target(place: Place) -> None:
    """Refuse early, before a phone is asked or a passphrase derived."""
    vault_dir = place.vault
    try:
        if os.listdir(vault_dir):
            raise VaultDirectoryUnusable(f"{vault_dir} is not empty")
    except FileNotFoundError:
        if not vault_dir.parent.is_dir():
            raise VaultDirectoryUnusable(f"{vault_dir.parent} does not exist", hint="make it first") from None
    except NotADirectoryError:
        raise VaultDirectoryUnusable(f"{vault_dir} is not a directory") from None
    if place.apart:
        _check_header_file(place)


def _check_header_file(place: Place) -> None:
    if place.vault in (place.directory, *place.directory.parents):
        raise VaultDirectoryUnusable(
            f"{place.shown} is inside the vault", hint="keep the header elsewhere, or leave --header out"
        )
    if not place.directory.is_dir():
        raise VaultDirectoryUnusable(f"{place.directory} does not exist", hint="make it first")
    for name in (place.main, place.backup):
        if os.path.lexists(place.directory / name):
            raise VaultDirectoryUnusable(
                f"{place.directory / name} exists already", hint="give a path that does not exist yet"
            )


def _write(place: Place, new: NewHeader) -> None:
    undo: list[Callable[[], None]] = []
    vault_dir = place.vault
    try:
        if not vault_dir.exists():
            vault_dir.mkdir(mode=0o700)
            undo.append(vault_dir.rmdir)
        place.tree.mkdir(mode=0o700)
        undo.append(place.tree.rmdir)
        undo.append(_remove(place.tree, file_name()))
        write_root_id(place.tree, new.vmk, new.header.vault_id)
        if place.apart:
            fsync_directory(vault_dir)  # with a header in it, that does so
        # The header comes last: with it the vault is complete.
        undo.extend(_remove(place.directory, name) for name in (place.main, place.backup))
        with header_key(new.vmk, new.header.vault_id) as key:
            store.save_new(place, new.header, key)
        fsync_directory(vault_dir.parent)
    except BaseException:
        for step in reversed(undo):
            with contextlib.suppress(OSError):
                step()
        raise


def _remove(directory: Path, name: str) -> Callable[[], None]:
    return lambda: (directory / name).unlink(missing_ok=True)
