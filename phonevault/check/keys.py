"""The keys a check needs: those of every live volume key, so that files of each epoch open."""

from __future__ import annotations

from collections.abc import Mapping

from keyslots.secret import Secret
from phonevault.fs.errors import Damaged
from phonevault.fs.format.links import LongLink
from phonevault.fs.keys import TreeKeys


class CheckKeys:
    """Keys of all live epochs. `wipe` them at the end.

    Args:
        vmks: volume master keys by epoch; not kept.
        vault_id: 16 bytes.
        names_epoch: the one that names are encrypted with.
    """

    def __init__(self, vmks: Mapping[int, Secret], vault_id: bytes, names_epoch: int) -> None:
        self.by_epoch = {epoch: TreeKeys(vmk, vault_id, epoch) for epoch, vmk in vmks.items()}
        self.of_names = self.by_epoch[names_epoch]
        self.names = self.of_names.names

    def open_target(self, stored: str) -> bytes:
        """Decrypt a symbolic link's target, whichever live volume key it was made with.

        Raises:
            Damaged: it opens under none.
        """
        for keys in self.by_epoch.values():
            try:
                return keys.open_target(stored)
            except Damaged:
                continue
        raise Damaged("a symbolic link's target does not decrypt")

    def open_long_target(self, link: LongLink, sidecar: bytes) -> bytes:
        """The same for a target in a sidecar.

        Raises:
            Damaged: it opens under none.
        """
        for keys in self.by_epoch.values():
            try:
                return keys.open_long_target(link, sidecar)
            except Damaged:
                continue
        raise Damaged("a symbolic link's sidecar does not open, or is another link's")

    def wipe(self) -> None:
        """Wipe every key."""
        for keys in self.by_epoch.values():
            keys.wipe()
