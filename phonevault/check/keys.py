"""The keys a check needs: those of every live volume key, so that files of each epoch open."""

from __future__ import annotations

from collections.abc import Mapping

from keyslots.secret import Secret
from phonevault.fs.errors import Damaged
from phonevault.fs.format.links import LongLink
from phonevault.fs.format.names import encrypt_name
from phonevault.fs.keys import TreeKeys


class CheckKeys:
    """Keys of all live epochs. `wipe` them at the end.

    Args:
        vmks: volume master keys by epoch; not kept.
        vault_id: 16 bytes.
        names_epoch: the one that names are encrypted with.
        current: while a rotation of contents is under way, the epoch that they may be encrypted with already.
    """

    def __init__(
        self,
        vmks: Mapping[int, Secret],
        vault_id: bytes,
        names_epoch: int,
        current: int | None = None,
    ) -> None:
        self.by_epoch = {epoch: TreeKeys(vmk, vault_id, epoch) for epoch, vmk in vmks.items()}
        if current is not None:
            self.by_epoch[current].wipe()
            self.by_epoch[current] = TreeKeys(
                vmks[current], vault_id, current, vmks, current, vmks[names_epoch]
            )
        self.of_names = self.by_epoch[names_epoch if current is None else current]
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

    def open_name(self, directory_id: bytes, encoded: str) -> bytes:
        """Decrypt a name.

        Raises:
            NameDamaged: it opens under no key of names.
        """
        return self.of_names.open_name(directory_id, encoded)

    def encoded_names(self, directory_id: bytes, name: bytes) -> list[str]:
        """What a name may be encoded as: under the newest key of names, then under the older one that a rotation of contents leaves."""
        ciphers = (self.of_names.newer, self.of_names.older)
        return [encrypt_name(each.names, directory_id, name) for each in ciphers if each is not None]

    def open_directory_id(self, blob: bytes) -> bytes:
        """Decrypt a directory's id.

        Raises:
            DirectoryIdDamaged: it opens under no key of names.
        """
        return self.of_names.open_directory_id(blob)

    def wipe(self) -> None:
        """Wipe every key."""
        for keys in self.by_epoch.values():
            keys.wipe()
