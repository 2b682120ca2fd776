"""Symbolic links: a text cannot be changed in its place, so a new link takes the name of the old one; sidecars of long targets."""

from __future__ import annotations

import contextlib
import os
import stat

from phonevault.fs.core import Core
from phonevault.fs.errors import Damaged, LinkDamaged
from phonevault.fs.format import links, names
from phonevault.fs.format.layout import OVERHEAD_BYTES
from phonevault.fs.format.rotation import LINK_PREFIX
from phonevault.fs.format.xattrs import TRUSTED_PREFIX
from phonevault.fs.nodes import pinned
from phonevault.fs.rotation.attributes import convert_attributes
from phonevault.fs.rotation.store import RotationStore
from phonevault.fs.small_files import open_small, put_durably, temporary_name

_DIRECTORY = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_SIDECAR_MAX_BYTES = links.TARGET_MAX_BYTES + OVERHEAD_BYTES


class LinkSteps:
    """Seals the targets of links anew.

    Args:
        core: unlocked, with the keys of both epochs.
        store: new links of which some names are still the old one's lie there, under the old one's inode number.
    """

    def __init__(self, core: Core, store: RotationStore) -> None:
        self._core = core
        self._store = store
        self._begun = store.link_names()

    def convert(self, directory_fd: int, stored: str, status: os.stat_result) -> bool:
        """Put a new link in the place of one; False if nothing was to be done.

        Raises:
            LinkDamaged: its target opens under neither key.
            OSError: of the backing store.
        """
        keys = self._core.keys
        text = os.readlink(stored, dir_fd=directory_fd)
        if links.is_long(text) or keys.older is None:
            return False  # the text names a sidecar, and nothing else
        with contextlib.suppress(LinkDamaged):
            keys.newer.open_target(text)
            return False
        target = keys.older.open_target(text)
        # Its attributes first: they go over to the new link as they are.
        convert_attributes(keys, self._store, directory_fd, stored)
        name = f"{LINK_PREFIX}{status.st_ino}"
        if status.st_nlink > 1 or name in self._begun:
            self._replace_one_of_several(directory_fd, stored, status, target, name)
        else:
            temporary = temporary_name()
            self._make(directory_fd, temporary, directory_fd, stored, status, target)
            self._into_place(directory_fd, temporary, stored, status)
        return True

    def _make(
        self, fd: int, name: str, old_fd: int, stored: str, status: os.stat_result, target: bytes
    ) -> None:
        """A link like the old one, with its target sealed anew."""
        os.symlink(self._core.keys.seal_target(target), name, dir_fd=fd)
        try:
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(name, status.st_uid, status.st_gid, dir_fd=fd, follow_symlinks=False)
            old = f"/proc/self/fd/{old_fd}/{stored}"
            for attribute in os.listxattr(old, follow_symlinks=False):
                if not attribute.startswith(TRUSTED_PREFIX):
                    continue
                value = os.getxattr(old, attribute, follow_symlinks=False)
                os.setxattr(f"/proc/self/fd/{fd}/{name}", attribute, value, follow_symlinks=False)
            os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=fd, follow_symlinks=False)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=fd)
            raise

    def _into_place(self, fd: int, temporary: str, stored: str, status: os.stat_result) -> None:
        pin = pinned(fd, temporary)
        try:
            os.rename(temporary, stored, src_dir_fd=fd, dst_dir_fd=fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=fd)
            raise
        self._core.nodes.replaced(status, os.fstat(pin.fd))

    def _replace_one_of_several(
        self, fd: int, stored: str, status: os.stat_result, target: bytes, name: str
    ) -> None:
        """All names of a link must lead to one new link: it waits beside the tree until the last one does."""
        beside = self._store.fd
        if name in self._begun and not self._is_the_one(name, target):
            os.unlink(name, dir_fd=beside)
            self._begun.discard(name)
        if name not in self._begun:
            temporary = temporary_name()
            self._make(beside, temporary, fd, stored, status, target)
            os.rename(temporary, name, src_dir_fd=beside, dst_dir_fd=beside)
            self._begun.add(name)
        temporary = temporary_name()
        os.link(name, temporary, src_dir_fd=beside, dst_dir_fd=fd, follow_symlinks=False)
        self._into_place(fd, temporary, stored, status)
        if status.st_nlink == 1:
            os.unlink(name, dir_fd=beside)
            self._begun.discard(name)

    def _is_the_one(self, name: str, target: bytes) -> bool:
        """Whether a link beside the tree has that target; whoever put it there."""
        try:
            if not stat.S_ISLNK(os.stat(name, dir_fd=self._store.fd, follow_symlinks=False).st_mode):
                return False
            text = os.readlink(name, dir_fd=self._store.fd)
            return self._core.keys.newer.open_target(text) == target
        except (FileNotFoundError, Damaged):
            return False

    def remove_leftovers(self, fd: int, listed: list[str]) -> None:
        """Links that did not come into place when a rotation was interrupted: they would count as names of the new link."""
        for name in listed:
            if name.startswith(names.TEMPORARY_PREFIX):
                with contextlib.suppress(FileNotFoundError):
                    if stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                        os.unlink(name, dir_fd=fd)

    # -- sidecars -----------------------------------------------------------------------------------------

    def sidecars(self) -> tuple[int, int]:
        """Seal every long target anew; how many were to do, and how many open under neither key.

        Raises:
            OSError: of the backing store.
        """
        root = self._core.nodes.directory(self._core.nodes.root)
        try:
            fd = os.open(links.DIRECTORY, _DIRECTORY, dir_fd=root.fd)
        except (FileNotFoundError, NotADirectoryError):
            return 0, 0
        done = damaged = 0
        try:
            for name in filter(links.is_sidecar, os.listdir(fd)):
                try:
                    done += self._sidecar(fd, name)
                except Damaged:
                    damaged += 1
        finally:
            os.close(fd)
        return done, damaged

    def _sidecar(self, fd: int, name: str) -> bool:
        keys = self._core.keys
        try:
            source = open_small(name, fd)
        except FileNotFoundError:
            return False  # its link went meanwhile
        try:
            raw, status = os.pread(source, _SIDECAR_MAX_BYTES + 1, 0), os.fstat(source)
        finally:
            os.close(source)
        link = links.LongLink.of_sidecar(name, len(raw) - OVERHEAD_BYTES)
        if keys.older is None:
            return False
        with contextlib.suppress(LinkDamaged):
            keys.newer.open_long_target(link, raw)
            return False
        sealed = keys.seal_long_target(link, keys.older.open_long_target(link, raw))
        put_durably(name, sealed, fd, replace=True, like=status)
        return True
