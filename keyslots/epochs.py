"""Epochs of the volume key: a new one comes, old ones go. Pure but for randomness; the caller saves the header.

Every slot gets the new key without its owner: slots are key encapsulations (docs/format.md 1.3).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from .anchor import seal_tag, tag_of
from .edit import rewrap_slot
from .errors import BadParameter
from .header import (
    ANCHORED,
    CONTENT_ROTATION,
    MAX_EPOCH,
    MAX_LIVE_EPOCHS,
    VMK_BYTES,
    Epochs,
    Header,
    flags_of,
)
from .secret import Secret


def begin_epoch(header: Header, vmks: Mapping[int, Secret]) -> tuple[Header, int, Secret]:
    """Make a fresh volume master key the current one; those that are live stay live.

    Args:
        header: verified.
        vmks: volume master keys of all live epochs.

    Returns:
        The header with every slot wrapped anew, the new epoch, and its key for the caller to wipe.

    Raises:
        BadParameter: no further epoch can be live, or their numbers are used up; or a rotation of contents is under way.
    """
    epochs = header.epochs
    if header.rotates_contents:
        raise BadParameter(
            "everything is being encrypted anew under the current volume key: let that end first"
        )
    epoch = epochs.live[-1] + 1
    if len(epochs.live) >= MAX_LIVE_EPOCHS or epoch > MAX_EPOCH:
        raise BadParameter("too many volume keys are in use: let the rotation that is under way end first")
    vmk = Secret.random(VMK_BYTES)
    try:
        anchor = b""
        if header.anchor:
            with tag_of(header, vmks) as tag:
                anchor = seal_tag(tag, vmk, header.vault_id, epoch)
        changed = dataclasses.replace(
            header,
            epochs=Epochs(epoch, epochs.names, epochs.files, (*epochs.live, epoch)),
            anchor=anchor,
        )
        return _wrapped_anew(changed, {**vmks, epoch: vmk}), epoch, vmk
    except BaseException:
        vmk.wipe()
        raise


def begin_content_epoch(header: Header, vmks: Mapping[int, Secret]) -> tuple[Header, int, Secret]:
    """The same, and the header says that names and contents are encrypted anew from now on. Arguments as of `begin_epoch`."""
    changed, epoch, vmk = begin_epoch(header, vmks)
    return (
        dataclasses.replace(changed, flags=flags_of(changed.slots, (*changed.flags, CONTENT_ROTATION))),
        epoch,
        vmk,
    )


def end_content_epochs(header: Header, vmks: Mapping[int, Secret]) -> Header:
    """Let go of every volume key but the current one. Nothing of the vault may need another any more."""
    current = header.epochs.current
    with tag_of(header, vmks) as tag:
        anchor = seal_tag(tag, vmks[current], header.vault_id, current)
    changed = dataclasses.replace(
        header,
        epochs=Epochs(current, current, current, (current,)),
        flags=flags_of(header.slots, (ANCHORED,)),
        anchor=anchor,
    )
    return _wrapped_anew(changed, {current: vmks[current]})


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
