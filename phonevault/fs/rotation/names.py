"""One directory from the older key to the newer one: its entries' names, their links and attributes, then its id.

At any moment an entry has its older name or its newer one, and a lookup tries both. A directory whose id is under the newer key has
newer names only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from phonevault.fs import sidecars
from phonevault.fs.access import made_accessible
from phonevault.fs.core import Core
from phonevault.fs.errors import Damaged, NameDamaged
from phonevault.fs.format import dirid, names
from phonevault.fs.format.rotation import FOLDER, Part
from phonevault.fs.nodes import pinned
from phonevault.fs.rotation.attributes import convert_attributes, convert_attributes_of
from phonevault.fs.rotation.links import LinkSteps
from phonevault.fs.rotation.store import RotationStore
from phonevault.fs.rotation.undo import restore_status, write_at
from phonevault.fs.small_files import exists, read_small, rename_to_free

_ID_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass
class Named:
    """What was done in a directory.

    Attributes:
        done: names, links and attributes.
        damaged: those that open under neither key.
    """

    done: int = 0
    damaged: int = 0


class FolderSteps:
    """Encrypts directories anew.

    Args:
        core: unlocked, with the keys of both epochs.
        store: of the rotation.
    """

    def __init__(self, core: Core, store: RotationStore) -> None:
        self._core = core
        self._store = store
        self.links = LinkSteps(core, store)

    def part(self, fd: int) -> Part:
        """What a directory is before: its times and its sealed id, for the undo log."""
        status = os.fstat(fd)
        extents: list[tuple[int, bytes | bytearray | memoryview]] = []
        with entered(fd), contextlib.suppress(FileNotFoundError, Damaged):
            extents.append((0, read_small(dirid.FILE_NAME, fd)))
        mode = stat.S_IMODE(status.st_mode)
        return Part(FOLDER, status.st_ino, mode, status.st_atime_ns, status.st_mtime_ns, extents=extents)

    def convert(self, fd: int, part: Part) -> Named:
        """Do everything in one directory, but not below it.

        Args:
            fd: open for reading.
            part: what it was before; its times are put back.

        Raises:
            OSError: of the backing store; doing it again goes on.
        """
        found = Named()
        self._now: dict[str, str] = {}
        try:
            self._convert(fd, part, found)
        finally:
            if self._now and (node := self._core.nodes.find(os.fstat(fd))) is not None:
                self._core.on_renamed(node, self._now)
        return found

    def _convert(self, fd: int, part: Part, found: Named) -> None:
        with entered(fd):
            listed = os.listdir(fd)
            stored_names = [name for name in listed if names.is_entry(name)]
            self.links.remove_leftovers(fd, listed)
            directory_id, is_new = self._id(fd, bool(stored_names), found)
            for stored in stored_names:
                now = stored
                if directory_id is not None and not is_new:
                    now = self._name(fd, directory_id, stored, found)
                self._object(fd, now, found)
            if directory_id is not None and not is_new and not found.damaged:
                self._seal_id(fd, directory_id)
                found.done += 1
            restore_status(fd, part)

    def root_attributes(self, fd: int) -> Named:
        """Those of the root, which is nobody's entry."""
        found = Named()
        try:
            pin = pinned(fd, ".")
            found.done = convert_attributes_of(
                self._core.keys, self._store, pin, os.listxattr(f"/proc/self/fd/{fd}")
            )
        except Damaged:
            found.damaged = 1
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
        return found

    def _id(self, fd: int, has_entries: bool, found: Named) -> tuple[bytes | None, bool]:
        """The id of a directory, and whether it is under the newer key."""
        keys = self._core.keys
        try:
            raw = read_small(dirid.FILE_NAME, fd)
        except FileNotFoundError:
            found.damaged += has_entries
            return None, False
        except Damaged:
            found.damaged += 1
            return None, False
        with contextlib.suppress(Damaged):
            return dirid.open_directory_id(keys.newer.names, raw), True
        try:
            return keys.open_directory_id(raw), False
        except Damaged:
            found.damaged += 1
            return None, False

    def _seal_id(self, fd: int, directory_id: bytes) -> None:
        """In its place, so that it stays whose it is: 32 bytes in one page, and the undo log has the old ones."""
        sealed = dirid.seal_directory_id(self._core.keys.names, directory_id)
        id_fd = os.open(dirid.FILE_NAME, _ID_FLAGS, dir_fd=fd)
        try:
            write_at(id_fd, sealed, 0)
        finally:
            os.close(id_fd)

    def entry(self, fd: int, stored: str) -> Named:
        """Attributes and, of a link, the target of one entry, whose name is a newer one."""
        found = Named()
        self._object(fd, stored, found)
        return found

    # -- entries ------------------------------------------------------------------------------------------

    def _name(self, fd: int, directory_id: bytes, stored: str, found: Named) -> str:
        try:
            moved = self._renamed(fd, directory_id, stored)
        except (Damaged, FileNotFoundError):
            found.damaged += exists(stored, fd)
            return stored
        found.done += moved != stored
        return moved

    def _renamed(self, fd: int, directory_id: bytes, stored: str) -> str:
        """Give an entry its newer name; returns that.

        Raises:
            Damaged: the name opens under neither key, or both names are there.
        """
        keys = self._core.keys
        encoded = sidecars.read(fd, stored) if names.is_long(stored) else stored
        with contextlib.suppress(NameDamaged):
            names.decrypt_name(keys.newer.names, directory_id, encoded)
            return stored
        name = keys.open_name(directory_id, encoded)
        status = os.stat(stored, dir_fd=fd, follow_symlinks=False)
        # Root may rotate the vault of somebody who reads it next.
        with sidecars.named(
            fd, names.encrypt_name(keys.names, directory_id, name), like=os.fstat(fd)
        ) as newer:
            try:
                rename_to_free(fd, stored, fd, newer)
            except FileExistsError:  # which no mount makes
                raise NameDamaged("an entry is there under its older and its newer name") from None
        sidecars.drop(fd, stored)
        parent = self._core.nodes.find(os.fstat(fd))
        if parent is not None:
            self._core.nodes.moved(status, (parent, stored), (parent, newer))
        self._now[stored] = newer
        return newer

    def _object(self, fd: int, stored: str, found: Named) -> None:
        """Attributes and, of a link, the target of an entry."""
        try:
            status = os.stat(stored, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                found.done += self.links.convert(fd, stored, status)
            found.done += convert_attributes(self._core.keys, self._store, fd, stored)
        except FileNotFoundError:
            return  # removed meanwhile
        except Damaged:
            found.damaged += 1


@contextmanager
def entered(fd: int) -> Iterator[None]:
    """A directory that its owner has closed to himself is open to us in the body."""
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or os.geteuid() == 0 or status.st_mode & stat.S_IRWXU == stat.S_IRWXU:
        yield
        return
    with made_accessible(fd):
        yield
