"""The keys of an unlocked tree, and the small seals made with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

from keyslots import labels
from keyslots.derive import derive
from keyslots.secret import Secret
from phonevault.fs.errors import Damaged, FileDamaged, LinkDamaged, NameDamaged
from phonevault.fs.format.dirid import open_directory_id
from phonevault.fs.format.links import LongLink
from phonevault.fs.format.names import b64decode, b64encode, encrypt_name, name_opener
from phonevault.fs.format.rotation import Border
from phonevault.fs.format.xattrs import XattrSeals
from phonevault.fs.key_arena import KeyArena
from phonevault.fs.known_names import KnownNames

_NONCE_BYTES = 12
_SYMLINK_AAD = b"symlink"


class NameCiphers:
    """Ciphers for names, symbolic links and extended attributes, of one epoch.

    Args:
        vmk: its volume master key; not kept.
        vault_id: 16 bytes.
    """

    def __init__(self, vmk: Secret, vault_id: bytes) -> None:
        self.secrets = [
            derive(vmk, vault_id, label)
            for label in (
                labels.NAMES, labels.SYMLINKS, labels.XATTR_NAMES, labels.XATTRS
            )
        ]  # fmt: skip
        names, symlinks, xattr_names, xattrs = self.secrets
        self.names = AESSIV(names.view)
        self.symlinks = AESGCM(symlinks.view)
        self.xattrs = XattrSeals(AESSIV(xattr_names.view), AESGCM(xattrs.view))

    def open_target(self, stored: str) -> bytes:
        """The target sealed into a link's text.

        Raises:
            LinkDamaged: it does not open.
        """
        try:
            raw = b64decode(stored)
            return self.symlinks.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _SYMLINK_AAD)
        except (InvalidTag, ValueError):
            raise LinkDamaged("a symbolic link's target does not decrypt") from None

    def open_long_target(self, link: LongLink, sidecar: bytes) -> bytes:
        """The target in a link's sidecar.

        Raises:
            LinkDamaged: it does not open, is another link's, or has another size than the link says.
        """
        try:
            target = self.symlinks.decrypt(
                sidecar[:_NONCE_BYTES], sidecar[_NONCE_BYTES:], link.associated_data
            )
        except (InvalidTag, ValueError):
            raise LinkDamaged("a symbolic link's sidecar does not decrypt") from None
        if len(target) != link.size:
            raise LinkDamaged("a symbolic link's text tells another size than its sidecar has")
        return target


class TreeKeys:
    """Ciphers for names, symbolic links, extended attributes (of one epoch) and file keys (of every live one).

    Args:
        vmk: the volume master key that names are encrypted with; not kept.
        vault_id: 16 bytes.
        epoch: number of that volume key.
        vmks: the volume master keys of all live epochs; that one alone, if left out.
        current: the epoch of new file keys; that of names, if left out.
        older: while a rotation of contents is under way, the volume master key of what it has not come to yet; not kept.

    Attributes:
        known: names that were encrypted or decrypted lately under the newer key.
        newer: ciphers of what is made from now on.
        older: ciphers of what a rotation of contents has not come to yet; None if none is under way.
        rotation: key of the MAC of what a rotation of contents keeps beside the tree.
        borders: by file id, those of the files that a rotation of contents has done a part of.
        newest: the epoch of new file keys and what wraps them; read once for each use, since a rotation may put another in its place.
    """

    def __init__(
        self,
        vmk: Secret,
        vault_id: bytes,
        epoch: int,
        vmks: Mapping[int, Secret] | None = None,
        current: int | None = None,
        older: Secret | None = None,
    ) -> None:
        self.arena = KeyArena()
        self.known = KnownNames()
        self.newer = NameCiphers(vmk, vault_id)
        self.older = None if older is None else NameCiphers(older, vault_id)
        self.borders: dict[bytes, Border] = {}
        self._secrets = [*self.newer.secrets, *(self.older.secrets if self.older is not None else ())]
        self._file_keys: dict[int, AESGCM] = {}
        newest = epoch if current is None else current
        self.rotation: Secret | None = None
        if older is not None:
            self.rotation = derive((vmks or {newest: vmk})[newest], vault_id, labels.ROTATION)
            self._secrets.append(self.rotation)
        for number, other in ({epoch: vmk} if vmks is None else vmks).items():
            file_keys = derive(other, vault_id, labels.FILE_KEYS)
            self._secrets.append(file_keys)
            self._file_keys[number] = AESGCM(file_keys.view)
        self.newest = newest, self._file_keys[newest]

    @property
    def names(self) -> AESSIV:
        """What new names are encrypted with."""
        return self.newer.names

    @property
    def xattrs(self) -> XattrSeals:
        """What new extended attributes are sealed with."""
        return self.newer.xattrs

    @property
    def epoch(self) -> int:
        """Of new file keys."""
        return self.newest[0]

    @property
    def file_keys(self) -> AESGCM:
        """What wraps new file keys."""
        return self.newest[1]

    def file_keys_of(self, epoch: int) -> AESGCM:
        """What file keys of an epoch are wrapped with.

        Raises:
            FileDamaged: the vault has no such epoch (any more).
        """
        found = self._file_keys.get(epoch)
        if found is None:
            raise FileDamaged("a file's key is of an epoch that the vault does not have")
        return found

    def adopt(self, epoch: int, vmk: Secret, vault_id: bytes) -> None:
        """Wrap new file keys under the volume key of another epoch from now on; ``vmk`` is not kept."""
        secret = derive(vmk, vault_id, labels.FILE_KEYS)
        self._secrets.append(secret)
        self._file_keys[epoch] = AESGCM(secret.view)
        self.newest = epoch, self._file_keys[epoch]

    def let_go(self, needed: Collection[int]) -> None:
        """Forget the file-key keys of all epochs but those (their bytes stay in locked pages until :meth:`wipe`)."""
        for epoch in [epoch for epoch in self._file_keys if epoch not in needed]:
            del self._file_keys[epoch]

    def end_rotation(self) -> None:
        """Nothing is under the older key of names any more: forget it (as :meth:`let_go`), and that of the rotation's MAC."""
        self.older, self.rotation, self.borders = None, None, {}

    def wipe(self) -> None:
        """Wipe every key. The ciphers are of no use afterwards and must be dropped."""
        self.wipe_own()
        self.arena.wipe()

    def wipe_own(self) -> None:
        """Wipe the tree's own keys, not those of files, and drop what names are known."""
        self.known.forget()
        for secret in self._secrets:
            secret.view[:] = bytes(len(secret))

    # -- small seals: made with the newer key, opened with either ------------------------------------------

    def seal_target(self, target: bytes) -> str:
        """The text of a link, of any length (docs/format.md 3). Nonce: random, at most 2^32 links a volume key."""
        nonce = os.urandom(_NONCE_BYTES)
        return b64encode(nonce + self.newer.symlinks.encrypt(nonce, target, _SYMLINK_AAD))

    def open_target(self, stored: str) -> bytes:
        """The target sealed into a link's text.

        Raises:
            LinkDamaged: it does not open.
        """
        return self._with_either(lambda ciphers: ciphers.open_target(stored))

    def seal_long_target(self, link: LongLink, target: bytes) -> bytes:
        """The sidecar of a link with a long target. Nonce: random, under the same bound."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self.newer.symlinks.encrypt(nonce, target, link.associated_data)

    def open_long_target(self, link: LongLink, sidecar: bytes) -> bytes:
        """The target in a link's sidecar.

        Raises:
            LinkDamaged: it does not open, is another link's, or has another size than the link says.
        """
        return self._with_either(lambda ciphers: ciphers.open_long_target(link, sidecar))

    def encoded_name(self, directory_id: bytes, name: bytes) -> str:
        """The encoded name, of any length, of what is made from now on."""
        known = self.known.of(directory_id)
        encoded = known.encoded.get(name)
        if encoded is None:
            encoded = encrypt_name(self.newer.names, directory_id, name)
            self.known.note(known, name, encoded)
        return encoded

    def open_name(self, directory_id: bytes, encoded: str) -> bytes:
        """A name.

        Raises:
            NameDamaged: it belongs to another directory, or was changed.
        """
        return self.name_opener(directory_id)(encoded)

    def name_opener(self, directory_id: bytes) -> Callable[[str], bytes]:
        """:meth:`open_name` for many names of one directory."""
        newer, older = self.newer, self.older
        opened = name_opener(newer.names, directory_id)
        if older is None:
            known, listed = self.known.of(directory_id), self.known.listed
            plain = known.plain

            def remembered(encoded: str) -> bytes:
                name = plain.get(encoded)
                if name is None:
                    name = opened(encoded)
                    listed(known, name, encoded)
                return name

            return remembered
        opened_older = name_opener(older.names, directory_id)

        def either(encoded: str) -> bytes:
            try:
                return opened(encoded)
            except NameDamaged:
                return opened_older(encoded)

        return either

    def open_directory_id(self, blob: bytes) -> bytes:
        """A directory's id.

        Raises:
            DirectoryIdDamaged: it does not open.
        """
        return self._with_either(lambda ciphers: open_directory_id(ciphers.names, blob))

    def _with_either(self, opened: Callable[[NameCiphers], bytes]) -> bytes:
        older = self.older
        try:
            return opened(self.newer)
        except Damaged:
            if older is None:
                raise
        return opened(older)
