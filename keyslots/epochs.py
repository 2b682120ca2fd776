"""Epochs of the volume key: a new one comes, old ones go. Pure but for randomness; the caller saves the header.

Every slot gets the new key without its owner: slots are key encapsulations (docs/format.md 1.3).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from .edit import rewrap_slot
from .errors import BadParameter
from .header import MAX_EPOCH, MAX_LIVE_EPOCHS, VMK_BYTES, Epochs, Header
from .secret import Secret


def begin_epoch(header: Header, vmks: Mapping[int, Secret]) -> tuple[Header, int, Secret]:
    """Make a fresh volume master key the current one; those that are live stay live.

    Args:
        header: verified.
        vmks: volume master keys of all live epochs.

    Returns:
        The header with every slot wrapped anew, the new epoch, and its key for the caller to wipe.

    Raises:
        BadParameter: no further epoch can be live, or their numbers are used up.
    """
    epochs = header.epochs
    epoch = epochs.live[-1] + 1
    if len(epochs.live) >= MAX_LIVE_EPOCHS or epoch > MAX_EPOCH:
        raise BadParameter("too many volume keys are in use: let the rotation that is under way end first")
    vmk = Secret.random(VMK_BYTES)
    try:
        changed = dataclasses.replace(
            header, epochs=Epochs(epoch, epochs.names, epochs.files, (*epochs.live, epoch))
        )
        return _wrapped_anew(changed, {**vmks, epoch: vmk}), epoch, vmk
    except BaseException:
        vmk.wipe()
        raise


def needed_epochs(header: Header) -> tuple[int, ...]:
    """The epochs that stay once every file's key is wrapped under the current one."""
    return tuple(sorted({header.epochs.current, header.epochs.names}))


def retire_epochs(header: Header, vmks: Mapping[int, Secret]) -> Header:
    """Let go of every volume key that neither names nor new files use. Nothing may be wrapped under them any more."""
    needed, current = needed_epochs(header), header.epochs.current
    changed = dataclasses.replace(header, epochs=Epochs(current, header.epochs.names, current, needed))
    return _wrapped_anew(changed, {epoch: vmks[epoch] for epoch in needed})


def _wrapped_anew(header: Header, vmks: Mapping[int, Secret]) -> Header:
    for slot in header.slots:
        header, _ = rewrap_slot(header, vmks, slot.id)
    return header
