"""What every operation shares: the tree's keys, its node table, and the way from a name to a ciphertext entry."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from keyslots.secret import Secret
from phonevault.fs import attributes
from phonevault.fs.contents.gcm_file import GcmFile
from phonevault.fs.contents.sparse_file import SparseFile
from phonevault.fs.contents.xts_file import XtsFile
from phonevault.fs.errors import Damaged, KeysMissing
from phonevault.fs.format import dirid, names
from phonevault.fs.format.layout import Layout, XtsLayout
from phonevault.fs.keys import TreeKeys
from phonevault.fs.nodes import Node, NodeTable

log = logging.getLogger(__name__)

_LONG_TIMEOUT_S = 86_400
_SIDECAR_LIMIT_BYTES = 512
_CIPHERS: dict[str, tuple[type[Layout], type[SparseFile]]] = {
    "aes-256-gcm": (Layout, GcmFile),
    "aes-256-xts": (XtsLayout, XtsFile),
}


@dataclass(frozen=True)
class Listed:
    """An entry of a directory listing.

    Attributes:
        name: plaintext.
        stored: its name in the ciphertext directory.
        inode: inode number.
        kind: ``S_IFMT >> 12``, as in ``struct dirent``.
    """

    name: bytes
    stored: str
    inode: int
    kind: int


class Core:
    """State of one encrypted tree.

    Args:
        tree: the ciphertext of the root directory.
        cipher: of the vault, by its name in the header.
        block_size: of the vault, in bytes.
        shared: other hosts change the ciphertext: nothing is cached for long.
    """

    def __init__(self, tree: Path, cipher: str, block_size: int, *, shared: bool) -> None:
        self.tree = tree
        layout, self._content_file = _CIPHERS[cipher]
        self.layout = layout(block_size)
        self.nodes = NodeTable(tree)
        self.shared = shared
        self.timeout_s = 0 if shared else _LONG_TIMEOUT_S
        self._keys: TreeKeys | None = None
        self._own = (os.geteuid(), os.getegid())

    @property
    def keys(self) -> TreeKeys:
        """The keys.

        Raises:
            KeysMissing: the tree is locked.
        """
        if self._keys is None:
            raise KeysMissing
        return self._keys

    @property
    def has_keys(self) -> bool:
        """Whether the tree is unlocked."""
        return self._keys is not None

    def unlock(self, vmk: Secret, vault_id: bytes, epoch: int) -> None:
        """Derive the keys and prove them on the root's directory id.

        Raises:
            DirectoryIdDamaged: the root's id does not open.
        """
        keys = TreeKeys(vmk, vault_id, epoch)
        self._keys = keys
        try:
            self.nodes.root.directory_id = None
            self.directory_id(self.nodes.root)
        except OSError:
            self.lock()
            raise

    def lock(self) -> None:
        """Wipe every key, also those of open files."""
        keys, self._keys = self._keys, None
        for node in self.nodes.all_nodes():
            if node.contents is not None:
                node.contents.wipe()
        if keys is not None:
            keys.wipe()

    # -- names --------------------------------------------------------------------------------------------

    def directory_id(self, node: Node) -> bytes:
        """The id of a directory, read once.

        Raises:
            DirectoryIdDamaged: its id file is missing or does not open.
        """
        if node.directory_id is None:
            handle = self.nodes.directory(node)
            node.directory_id = dirid.open_directory_id(
                self.keys.names, read_small(dirid.FILE_NAME, handle.fd)
            )
        return node.directory_id

    def encoded(self, parent: Node, name: bytes) -> str:
        """The encoded name of an entry, of any length.

        Raises:
            OSError: ENAMETOOLONG.
        """
        if len(name) > names.NAME_MAX:
            raise OSError(errno.ENAMETOOLONG, "name too long")
        return names.encrypt_name(self.keys.names, self.directory_id(parent), name)

    def stored(self, parent: Node, name: bytes) -> str:
        """The entry's name in the ciphertext directory."""
        return names.stored_name(self.encoded(parent, name))

    def write_sidecar(self, directory_fd: int, encoded: str) -> str:
        """The stored name for a new entry; a long name's sidecar is written, durably, before the entry is."""
        stored = names.stored_name(encoded)
        if names.is_long(stored):
            write_durably(stored + names.LONG_SUFFIX, encoded.encode("ascii"), directory_fd)
        return stored

    def list_directory(self, node: Node) -> list[Listed]:
        """Every entry that decrypts; one that does not is told to the log and left out."""
        handle = self.nodes.directory(node)
        directory_id, siv = self.directory_id(node), self.keys.names
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=handle.fd)
        found = []
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    stored = entry.name
                    if not names.is_entry(stored):
                        continue
                    try:
                        encoded = self._long_name(stored, handle.fd) if "." in stored else stored
                        name = names.decrypt_name(siv, directory_id, encoded)
                    except Damaged:
                        log.warning("inode %d: an entry's name does not decrypt", entry.inode())
                        continue
                    found.append(Listed(name, stored, entry.inode(), _kind(entry)))
        finally:
            os.close(fd)
        return found

    def _long_name(self, stored: str, directory_fd: int) -> str:
        try:
            encoded = read_small(stored + names.LONG_SUFFIX, directory_fd).decode("ascii")
        except (FileNotFoundError, UnicodeDecodeError):
            raise Damaged("a long name's sidecar is missing or damaged") from None
        if names.stored_name(encoded) != stored:
            raise Damaged("a long name's sidecar belongs to another entry")
        return encoded

    # -- objects ------------------------------------------------------------------------------------------

    def stat_entry(self, directory_fd: int, stored: str) -> os.stat_result:
        """Status of an entry, never following a link."""
        return os.stat(stored, dir_fd=directory_fd, follow_symlinks=False)

    def stat_node(self, node: Node) -> os.stat_result:
        """Status of a node: through its open descriptor, else where it lies.

        Raises:
            OSError: ENOENT, or ESTALE if something else lies there.
        """
        if node.contents is not None:
            return os.fstat(node.contents.fd)
        handle = node.handle
        if handle is not None:
            return os.fstat(handle.fd)
        parent, stored = self.nodes.place(node)
        handle = self.nodes.directory(parent)
        status = self.stat_entry(handle.fd, stored)
        if (status.st_dev, status.st_ino) != node.key:
            raise OSError(errno.ESTALE, "another object is in its place")
        return status

    def contents(self, fd: int) -> SparseFile:
        """The contents behind an open ciphertext file, under the vault's cipher."""
        return self._content_file(fd, self.layout, self.shared)

    def entry(self, parent: Node, stored: str, status: os.stat_result) -> bytes:
        """Tell the kernel of an object: ``fuse_entry_out``."""
        node = self.nodes.remember(parent, stored, status)
        return attributes.entry_out(node.id, self.timeout_s, attributes.pack(status, self.layout))

    def give_to_caller(self, fd: int, uid: int, gid: int, parent_fd: int) -> None:
        """A new object belongs to whom made it; in a set-group-id directory, to the directory's group."""
        if (uid, gid) == self._own:
            return
        group = -1 if os.fstat(parent_fd).st_mode & stat.S_ISGID else gid
        os.chown(f"/proc/self/fd/{fd}", uid, group)

    def remove_leftover(self, directory_fd: int, stored: str) -> None:
        """Remove an emptied directory that goes by a temporary name."""
        path_fd = os.open(
            stored, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory_fd
        )
        try:
            if self._own[0] != 0:
                os.chmod(f"/proc/self/fd/{path_fd}", 0o700)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(dirid.FILE_NAME, dir_fd=path_fd)
        finally:
            os.close(path_fd)
        os.rmdir(stored, dir_fd=directory_fd)


def temporary_name() -> str:
    """A name for a directory on its way in or out (docs/format.md 2)."""
    return names.TEMPORARY_PREFIX + secrets.token_hex(8)


def read_small(name: str, directory_fd: int) -> bytes:
    """A small regular file's bytes; never through a link, never blocking on a fifo.

    Raises:
        Damaged: it is no regular file, or too long.
        OSError: ENOENT, EIO, … of the backing store.
    """
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory_fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOENT) and name == dirid.FILE_NAME:
            raise Damaged("a directory has no id file") from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Damaged(f"{name} is not a regular file")
        raw = os.read(fd, _SIDECAR_LIMIT_BYTES + 1)
    finally:
        os.close(fd)
    if len(raw) > _SIDECAR_LIMIT_BYTES:
        raise Damaged(f"{name} is too long")
    return raw


def write_durably(name: str, raw: bytes, directory_fd: int) -> None:
    """Write a small file of ours and fsync it."""
    fd = os.open(
        name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory_fd
    )
    try:
        os.write(fd, raw)
        os.fsync(fd)
    finally:
        os.close(fd)


def _kind(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return stat.S_IFLNK >> 12
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR >> 12
    if entry.is_file(follow_symlinks=False):
        return stat.S_IFREG >> 12
    return 0


def contents_of(node: Node) -> SparseFile:
    """The open contents of a node.

    Raises:
        OSError: EBADF, it is not open.
    """
    if node.contents is None:
        raise OSError(errno.EBADF, "the file is not open")
    return node.contents
