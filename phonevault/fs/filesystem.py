"""The encrypted file system as the daemon sees it: unlock, lock, and the operations for a FUSE session."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from keyslots.memory import scrub_stack
from keyslots.secret import Secret
from phonevault.fs import mtimes
from phonevault.fs.core import MAX_WRITE_BYTES, Core
from phonevault.fs.keys import TreeKeys
from phonevault.fs.requests.directories import DirectoryOperations
from phonevault.fs.requests.files import FileOperations
from phonevault.fs.requests.inodes import InodeOperations, only_times
from phonevault.fs.requests.nameless import NamelessOperations
from phonevault.fs.requests.removals import RemovalOperations
from phonevault.fs.requests.renames import RenameOperations
from phonevault.fs.requests.space import SpaceOperations
from phonevault.fs.requests.statx import StatxOperations
from phonevault.fs.requests.tree import TreeOperations
from phonevault.fs.requests.xattrs import XattrOperations
from phonevault.fs.rewrap import Rewrap
from phonevault.fs.rotation.run import Reencrypt
from phonevault.fs.rotation.store import opened_store
from phonevault.fuse.abi import Init, Opcode
from phonevault.fuse.request import Handler, Operations, Request

_NEEDS_NO_KEYS = frozenset(
    {Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT, Opcode.DESTROY, Opcode.RELEASE, Opcode.RELEASEDIR}
)
_DRAINS = frozenset({Opcode.WRITE, Opcode.FSYNC, Opcode.SETATTR})
_FEATURES = (
    Init.ASYNC_READ | Init.ATOMIC_O_TRUNC | Init.BIG_WRITES | Init.ASYNC_DIO | Init.PARALLEL_DIROPS | Init.MAX_PAGES
    | Init.HANDLE_KILLPRIV_V2
)  # fmt: skip
_CACHING = Init.CACHE_SYMLINKS | Init.DO_READDIRPLUS


class EncryptedFileSystem:
    """An encrypted tree.

    Args:
        tree: the ciphertext of the root directory.
        vault_id: 16 bytes.
        cipher: ``aes-256-gcm`` or ``aes-256-xts``.
        block_size: plaintext bytes of a block or data unit.
        shared: other hosts change the ciphertext too.
        read_only: nothing is ever changed (the kernel refuses it).
        journal: the directory of journals, recovered before; None for a mount that changes nothing.
    """

    def __init__(
        self,
        tree: Path,
        vault_id: bytes,
        cipher: str,
        block_size: int,
        *,
        shared: bool = False,
        read_only: bool = False,
        journal: Path | None = None,
    ) -> None:
        os.umask(0)
        self._vault_id = vault_id
        self._read_only = read_only
        self._core = Core(tree, cipher, block_size, shared=shared, journal=None if read_only else journal)
        self._files = FileOperations(self._core)
        self._directories = DirectoryOperations(self._core)
        self._space = SpaceOperations(self._core)
        self._nameless = NamelessOperations(self._core, self._files)
        self._statx = StatxOperations(self._core)
        self._inodes = InodeOperations(self._core, self._files)
        self._tree = TreeOperations(self._core)
        self._removals = RemovalOperations(self._core)
        self._renames = RenameOperations(self._core)
        self._xattrs = XattrOperations(self._core)
        self._core.on_renamed = self._directories.renamed
        self._still: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def locked(self) -> bool:
        """Whether no key is held."""
        return not self._core.has_keys

    @property
    def epoch(self) -> int:
        """Of new file keys.

        Raises:
            KeysMissing: it is locked.
        """
        return self._core.keys.epoch

    @property
    def crash_safe(self) -> bool:
        """Whether the death of this process at any moment loses nothing that was acknowledged."""
        return self._core.journal.safe

    def unlock(
        self,
        vmk: Secret,
        epoch: int = 1,
        vmks: Mapping[int, Secret] | None = None,
        current: int | None = None,
        older: Secret | None = None,
    ) -> None:
        """Derive the keys from volume keys, which are not kept. Arguments as of :class:`TreeKeys`.

        Raises:
            DirectoryIdDamaged: the root's id does not open under them.
            OSError: the borders of a rotation of contents cannot be read.
        """
        keys = TreeKeys(vmk, self._vault_id, epoch, vmks, current, older)
        try:
            if keys.rotation is not None:
                with opened_store(self._core.tree.parent, keys.rotation.view) as store:
                    keys.borders = {} if store is None else store.borders()
        except BaseException:
            keys.wipe()
            raise
        self._core.unlock(keys)

    def adopt_epoch(self, epoch: int, vmk: Secret) -> None:
        """Wrap new file keys under another volume key from now on; it is not kept."""
        self._core.keys.adopt(epoch, vmk, self._vault_id)

    def rewrap(self, needed: Collection[int], duty: float = 1.0) -> Rewrap:
        """What wraps every file key under the current volume key.

        Args:
            needed: epochs that stay; the keys of the others are let go of at the end.
            duty: share of the time that is worked, above 0, at most 1.
        """
        return Rewrap(self._core, self._files, lambda: self._core.keys.let_go(needed), duty)

    def beside(self, still: Callable[[], AbstractContextManager[None]]) -> None:
        """Requests are served from now on: what needs the tree for itself gets it while ``still()`` is entered."""
        self._still = still

    def adopt_contents(self, epoch: int, vmks: Mapping[int, Secret], names: int) -> None:
        """A rotation of contents has begun, if the keys do not say so already: make everything new under another volume key.

        Args:
            epoch: of that volume key.
            vmks: the volume keys of all live epochs; not kept.
            names: the epoch of what is there.

        Raises:
            KeysMissing: the tree is locked.
        """
        if self._core.keys.rotation is None:
            with self._still():
                self._core.replace_keys(
                    TreeKeys(vmks[epoch], self._vault_id, epoch, vmks, epoch, vmks[names])
                )

    def reencrypt(self, duty: float = 1.0) -> Reencrypt:
        """What encrypts everything anew under the current volume key.

        Args:
            duty: share of the time that is worked, above 0, at most 1.
        """
        return Reencrypt(self._core, self._still, self._let_go_of_older, duty)

    def _let_go_of_older(self) -> None:
        keys = self._core.keys
        keys.let_go({keys.epoch})
        keys.end_rotation()

    def lock(self) -> None:
        """Wipe every key. The session must be locked first."""
        self._core.lock()
        scrub_stack()

    def close(self) -> None:
        """After the last request was answered: remove the journal."""
        mtimes.restore_missed(self._core)
        self._core.journal.close()

    def operations(self) -> Operations:
        """What a FUSE session serves."""
        features = _FEATURES
        # With --shared the kernel keeps no attributes, so it is not given any with a listing.
        features |= Init.AUTO_INVAL_DATA if self._core.shared else _CACHING
        if not self._core.shared and not self._read_only:
            features |= Init.WRITEBACK_CACHE
        handlers = self._handlers()
        if self._core.xattrs.available:
            features |= Init.SETXATTR_EXT | Init.POSIX_ACL | Init.DONT_MASK
            handlers |= _xattr_handlers(self._xattrs)
        return Operations(
            handlers={int(opcode): handler for opcode, handler in handlers.items()},
            init_flags=features,
            max_write=MAX_WRITE_BYTES,
            scratch_bytes=self._core.layout.scratch_bytes(MAX_WRITE_BYTES),
            needs_no_keys=_NEEDS_NO_KEYS,
            drains=_DRAINS,
            keyless=only_times,
            dirty_nodes=lambda: [node.id for node in self._core.nodes.all_nodes() if node.writers],
            known_nodes=self._core.nodes.numbers,
            scrub=scrub_stack,
            agreed=self._xattrs.agreed,
            take_back=self._directories.take_back,
        )

    def _handlers(self) -> dict[Opcode, Handler]:
        inodes, files, directories, tree = self._inodes, self._files, self._directories, self._tree
        return {
            Opcode.LOOKUP: inodes.lookup,
            Opcode.FORGET: inodes.forget,
            Opcode.BATCH_FORGET: inodes.batch_forget,
            Opcode.GETATTR: inodes.getattr,
            Opcode.SETATTR: inodes.setattr,
            Opcode.READLINK: inodes.readlink,
            Opcode.STATFS: inodes.statfs,
            Opcode.MKDIR: tree.mkdir,
            Opcode.MKNOD: tree.mknod,
            Opcode.SYMLINK: tree.symlink,
            Opcode.LINK: tree.link,
            Opcode.UNLINK: self._removals.unlink,
            Opcode.RMDIR: self._removals.rmdir,
            Opcode.RENAME: self._renames.rename,
            Opcode.RENAME2: self._renames.rename2,
            Opcode.OPEN: files.open,
            Opcode.CREATE: files.create,
            Opcode.READ: files.read,
            Opcode.WRITE: files.write,
            Opcode.RELEASE: files.release,
            Opcode.FSYNC: files.fsync,
            Opcode.FALLOCATE: self._space.fallocate,
            Opcode.LSEEK: self._space.lseek,
            Opcode.COPY_FILE_RANGE: self._space.copy_file_range,
            Opcode.OPENDIR: directories.opendir,
            Opcode.READDIR: directories.readdir,
            Opcode.READDIRPLUS: directories.readdirplus,
            Opcode.RELEASEDIR: directories.releasedir,
            Opcode.FSYNCDIR: directories.fsyncdir,
            Opcode.TMPFILE: self._nameless.tmpfile,
            Opcode.STATX: self._statx.statx,
            Opcode.IOCTL: _no_ioctl,
            Opcode.INTERRUPT: _ignore,
            Opcode.DESTROY: _nothing,
        }


def _xattr_handlers(xattrs: XattrOperations) -> dict[Opcode, Handler]:
    """Where the backing store has no attributes these are left out: the kernel then answers EOPNOTSUPP without asking."""
    return {
        Opcode.GETXATTR: xattrs.getxattr,
        Opcode.SETXATTR: xattrs.setxattr,
        Opcode.LISTXATTR: xattrs.listxattr,
        Opcode.REMOVEXATTR: xattrs.removexattr,
    }


def _ignore(request: Request) -> None:
    """INTERRUPT of a request that is being served: it ends by itself."""
    del request


def _no_ioctl(request: Request) -> bytes:
    """IOCTL: a file here has none of its own."""
    raise OSError(errno.ENOTTY, f"no ioctl on node {request.nodeid}")


def _nothing(request: Request) -> bytes:
    """DESTROY."""
    del request
    return b""
