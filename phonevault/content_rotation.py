"""Encrypting a vault anew: new file keys, contents, names, links and extended attributes (docs/format.md 1.8).

The header has a flag for it, under its MAC. While it is there whatever was not come to yet opens under the older volume keys. Doing it
again goes on, whatever interrupted it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from keyslots import labels
from keyslots.derive import derive
from keyslots.epochs import begin_content_epoch, end_content_epochs
from keyslots.header import Header
from keyslots.place import Place
from keyslots.secret import Secret
from phonevault.errors import RotationUnderWay
from phonevault.fs.errors import Damaged
from phonevault.rotation import Rotated, begin_with, finish_with
from phonevault.vault import OpenedVault, prove_before_change, written

if TYPE_CHECKING:
    from phonevault.fs.filesystem import EncryptedFileSystem
    from phonevault.fs.rotation.run import Reencrypt


def is_under_way(header: Header) -> bool:
    """Whether names and contents may be under older volume keys, and are being encrypted anew."""
    return header.rotates_contents


def begin(opened: OpenedVault) -> tuple[Header, dict[int, Secret]]:
    """Give the vault a new volume key for everything, saved, unless that is under way. A rotation of the volume key alone is superseded.

    Returns:
        The header, and all volume keys by epoch: those of ``opened``, and the new one for the caller to wipe.

    Raises:
        OtherVault: the header does not open this tree; nothing has changed.
        HeaderChanged, HeaderBusy, HeaderWriteFailed, BadParameter: as for `keyslots.store.save`. Nothing has changed then.
    """
    return begin_with(opened, is_under_way, begin_content_epoch)


def finish(place: Place, header: Header, vmks: Mapping[int, Secret]) -> Header:
    """Take the older volume keys and the flag out of the header. Arguments and errors as of `phonevault.rotation.finish`."""
    return finish_with(place, header, vmks, end_content_epochs)


def recover(opened: OpenedVault, *, look_only: bool = False) -> int:
    """Put back what a rotation of contents left half done. The caller holds the lock of the tree.

    Args:
        opened: the vault, with its keys.
        look_only: change nothing.

    Returns:
        How many objects were put back, or would be.

    Raises:
        RecoveryFailed: the backing store refused; the log keeps it.
    """
    from phonevault.fs.format.rotation import DIRECTORY
    from phonevault.fs.recovery import RecoveryFailed
    from phonevault.fs.rotation.store import opened_store
    from phonevault.fs.rotation.undo import pending, undo

    if not is_under_way(opened.header):
        return 0
    try:
        with (
            derive(opened.vmk, opened.header.vault_id, labels.ROTATION) as key,
            opened_store(opened.path, key.view) as store,
        ):
            if store is None:
                return 0
            return pending(store) if look_only else undo(store, opened.tree)
    except OSError as error:
        raise RecoveryFailed(error, opened.path / DIRECTORY) from error


def refuse_unless_whole(opened: OpenedVault, *, shared: bool, read_only: bool) -> None:
    """A mount that may not put things right, or is not the only one, must not meet a tree in between.

    Raises:
        RotationUnderWay: it would.
    """
    if not is_under_way(opened.header):
        return
    if shared:
        raise RotationUnderWay(
            "a rotation of contents was interrupted: several hosts cannot use the vault until it is done"
        )
    if read_only and recover(opened, look_only=True):
        raise RotationUnderWay(
            "a rotation of contents was interrupted, and something is half done",
            hint="mount it once without --read-only, or go on: `phonevault rotate content VAULT`",
        )


def unlock(filesystem: EncryptedFileSystem, header: Header, vmks: Mapping[int, Secret]) -> None:
    """Give a file system its keys, whether a rotation of contents is under way or not; the caller wipes the volume keys.

    Raises:
        DirectoryIdDamaged: the root's id does not open under them.
    """
    epochs = header.epochs
    if is_under_way(header):
        filesystem.unlock(vmks[epochs.current], epochs.current, vmks, epochs.current, vmks[epochs.names])
    else:
        filesystem.unlock(vmks[epochs.names], epochs.names, vmks, epochs.current)


def rotate_content(opened: OpenedVault, started: Callable[[Reencrypt], None], duty: float = 1.0) -> Rotated:
    """Encrypt a vault anew that nobody has mounted; or go on with that. Arguments and errors as of `phonevault.rotation.rotate_master`."""
    from phonevault.fs.filesystem import EncryptedFileSystem
    from phonevault.fs.format.journal import DIRECTORY as JOURNAL
    from phonevault.fs.recovery import recover as recover_journal

    prove_before_change(opened)
    recover_journal(opened.path / JOURNAL, opened.tree)
    header, vmks = begin(opened)
    done: list[Header] = []
    try:
        filesystem = EncryptedFileSystem(
            opened.tree, header.vault_id, header.cipher, header.block_size, journal=opened.path / JOURNAL
        )
        try:
            unlock(filesystem, header, vmks)
            run = filesystem.reencrypt(duty)
            started(run)
            with _naming(opened.path):
                complete = run.run(lambda: done.append(finish(opened.place, header, vmks)))
        finally:
            filesystem.lock()
            filesystem.close()
        for saved in done:
            written(opened, saved, vmks)
    finally:
        vmks[header.epochs.current].wipe()
    return Rotated(header.epochs.current, run.progress, complete)


@contextlib.contextmanager
def _naming(vault: Path) -> Iterator[None]:
    """What the backing store refuses without saying where is told with the vault's name."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or isinstance(error, Damaged):
            raise
        raise OSError(error.errno, error.strerror, str(vault)) from error
