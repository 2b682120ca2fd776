"""Rotating the volume key of a vault that nobody has mounted (docs/format.md 1.6).

The header says so, under its MAC: as long as `epochs.files` is not the current epoch, file keys may be wrapped under older ones. So an
interrupted rotation is gone on with by doing it again, whatever interrupted it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keyslots import store
from keyslots.derive import header_key
from keyslots.envelope import encode_file, parse_file, verify_mac
from keyslots.epochs import begin_epoch, needed_epochs, retire_epochs
from keyslots.errors import HeaderChanged, OtherVault
from keyslots.header import Header
from keyslots.place import Place
from keyslots.secret import Secret
from phonevault.errors import RotationUnderWay
from phonevault.vault import OpenedVault, prove_before_change, written

if TYPE_CHECKING:
    from phonevault.fs.rewrap import Rewrap, RewrapProgress
    from phonevault.fs.rotation.run import ReencryptProgress

_TRIES = 20
"""How often a header is read again that others changed between reading and writing."""


class HeaderReplaced(OtherVault):
    """The header on disk is not a later form of the one that a rotation was begun with."""

    hint = "the older volume keys stay; look at the vault with `phonevault info` and `phonevault check`"


@dataclass(frozen=True)
class Rotated:
    """What became of it.

    Attributes:
        epoch: of the volume key that file keys are wrapped under now.
        progress: of the run.
        complete: no file needs an older key; they are gone from the header, but for the one of names.
    """

    epoch: int
    progress: RewrapProgress | ReencryptProgress
    complete: bool


def is_under_way(header: Header) -> bool:
    """Whether file keys may be wrapped under older volume keys, and only they are to be changed.

    While contents are encrypted anew, a file key that is merely wrapped anew would pass for a new one.
    """
    return header.epochs.files != header.epochs.current and not header.rotates_contents


def begin(opened: OpenedVault) -> tuple[Header, dict[int, Secret]]:
    """Give the vault a new volume key, saved, unless a rotation is under way.

    Returns:
        The header, and all volume keys by epoch: those of ``opened``, and the new one for the caller to wipe.

    Raises:
        RotationUnderWay: one of contents is.
        OtherVault: the header does not open this tree; nothing has changed.
        HeaderChanged, HeaderBusy, HeaderWriteFailed, BadParameter: as for `keyslots.store.save`. Nothing has changed then.
    """
    if opened.header.rotates_contents:
        raise RotationUnderWay(
            "a rotation of contents is under way, which gives every file a new key as well"
        )
    return begin_with(opened, is_under_way, begin_epoch)


def begin_with(
    opened: OpenedVault, under_way: Callable[[Header], bool], make: Callable[..., tuple[Header, int, Secret]]
) -> tuple[Header, dict[int, Secret]]:
    """As `begin`, for a rotation of any kind.

    Args:
        opened: the vault.
        under_way: whether that kind is.
        make: gives the header with a new epoch, its number, and its key.
    """
    if under_way(opened.header):
        return opened.header, dict(opened.vmks)
    prove_before_change(opened)
    header, epoch, vmk = make(opened.header, opened.vmks)
    try:
        header = _save(opened.place, header, vmk)
        vmks = {**opened.vmks, epoch: vmk}
        written(opened, header, vmks)
        return header, vmks
    except BaseException:
        vmk.wipe()
        raise


def finish(place: Place, header: Header, vmks: Mapping[int, Secret]) -> Header:
    """Take the older volume keys out of the header. Every file key is wrapped under the current one, durably.

    What other commands changed in the header meanwhile (slots) stays.

    Args:
        place: the vault, and where its header is.
        header: as `begin` returned it.
        vmks: volume keys of all its live epochs.

    Raises:
        HeaderChanged: it is not a later form of ``header``, or changes again and again.
        HeaderTampered: its MAC is not that of the current volume key.
        HeaderBusy, HeaderWriteFailed: as for `keyslots.store.save`.
    """
    return finish_with(place, header, vmks, retire_epochs)


def finish_with(
    place: Place,
    header: Header,
    vmks: Mapping[int, Secret],
    retire: Callable[[Header, Mapping[int, Secret]], Header],
) -> Header:
    """As `finish`, for a rotation of any kind: ``retire`` gives the header without what is no longer needed."""
    vmk = vmks[header.epochs.current]
    for _ in range(_TRIES - 1):
        with contextlib.suppress(HeaderChanged):
            return _save(place, retire(_present(place, header, vmk), vmks), vmk)
    return _save(place, retire(_present(place, header, vmk), vmks), vmk)


def _present(place: Place, begun: Header, vmk: Secret) -> Header:
    """The header on disk, proved to be written by someone who has the current volume key, since the rotation was begun."""
    sealed = store.load(place).sealed
    found = sealed.header
    if (
        found.vault_id != begun.vault_id
        or found.epochs != begun.epochs
        or found.rotates_contents != begun.rotates_contents
        or found.generation < begun.generation
    ):
        raise HeaderReplaced("the vault's header was replaced while its keys were rotated")
    with header_key(vmk, begun.vault_id) as key:
        verify_mac(sealed, key)
    return found


def rotate_master(opened: OpenedVault, started: Callable[[Rewrap], None], duty: float = 1.0) -> Rotated:
    """Give the vault a new volume key and wrap every file key under it; or go on with a rotation that was interrupted.

    Args:
        opened: the vault; the caller holds the lock of its tree, and wipes it.
        started: is handed the run: its progress, and how to stop it.
        duty: share of the time that is worked, above 0, at most 1.

    Raises:
        OtherVault: the header does not open this tree; nothing has changed.
        HeaderChanged, HeaderBusy, HeaderWriteFailed: the header could not be written.
        RecoveryFailed, OSError: of the backing store. Doing it again goes on.
    """
    from phonevault.fs.filesystem import EncryptedFileSystem
    from phonevault.fs.format.journal import DIRECTORY as JOURNAL
    from phonevault.fs.recovery import recover

    prove_before_change(opened)
    recover(opened.path / JOURNAL, opened.tree)
    header, vmks = begin(opened)
    epochs = header.epochs
    try:
        filesystem = EncryptedFileSystem(
            opened.tree,
            header.vault_id,
            header.cipher,
            header.block_size,
            journal=opened.path / JOURNAL,
        )
        try:
            filesystem.unlock(vmks[epochs.names], epochs.names, vmks, epochs.current)
            run = filesystem.rewrap(needed_epochs(header), duty)
            started(run)
            complete = run.run(lambda: _finished(opened, header, vmks))
        finally:
            filesystem.lock()
            filesystem.close()
    finally:
        vmks[epochs.current].wipe()
    return Rotated(epochs.current, run.progress, complete)


def _finished(opened: OpenedVault, header: Header, vmks: Mapping[int, Secret]) -> None:
    written(opened, finish(opened.place, header, vmks), vmks)


def _save(place: Place, header: Header, vmk: Secret) -> Header:
    """Save a header under the MAC key of its current epoch, after reading it back."""
    with header_key(vmk, header.vault_id) as key:
        parse_file(encode_file(header, key))
        return store.save(place, header, key)
