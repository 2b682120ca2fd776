"""The ciphertext tree, object by object: a walk that never follows a link, never blocks and never trusts what it finds."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from phonevault.check.contents import ContentChecker
from phonevault.check.findings import Code, Counts, Finding, Flaw
from phonevault.check.keys import CheckKeys
from phonevault.check.links import LinkChecker
from phonevault.check.names import Role, read_name, read_sidecar, role_of
from phonevault.check.objects import FILE_FLAGS, Objects
from phonevault.check.places import DIRECTORY_FLAGS, Descriptors, Directory, Place
from phonevault.check.repair import LOST_FOUND, Repair
from phonevault.check.telling import DENIED, Telling
from phonevault.check.xattrs import XattrChecker
from phonevault.fs.errors import Damaged
from phonevault.fs.format import dirid, links, names
from phonevault.fs.small_files import read_small


@dataclass(frozen=True)
class Tree:
    """What is to be checked.

    Attributes:
        fd: open on the ciphertext of the root directory, for reading.
        keys: of all live epochs.
        cipher: of the vault, by its name in the header.
        block_size: of the vault, in bytes.
        shown: how the root is called in findings.
    """

    fd: int
    keys: CheckKeys
    cipher: str
    block_size: int
    shown: str = "tree"


class TreeCheck:
    """One walk over a tree.

    Args:
        tree: what is to be checked.
        report: told of each finding as it is made.
        repair: mend what can be mended without guessing.
        counts: what was looked at and found so far; it grows.
        progress: called now and then.
    """

    def __init__(
        self,
        tree: Tree,
        report: Callable[[Finding], None],
        *,
        repair: bool = False,
        counts: Counts | None = None,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.counts = Counts() if counts is None else counts
        self._progress = progress
        self._keys = tree.keys
        self._contents = ContentChecker(tree.keys, tree.cipher, tree.block_size, self._looked_at)
        self._links = LinkChecker(tree.keys, tree.fd)
        self._xattrs = XattrChecker(tree.keys.of_names)
        status = os.fstat(tree.fd)
        self._root = Directory(None, tree.shown, None, (status.st_dev, status.st_ino))
        self._descriptors = Descriptors(self._root, tree.fd)
        mending = Repair(self._root, self._descriptors, tree.keys) if repair else None
        self._telling = Telling(report, self.counts, self._links, mending)
        self._objects = Objects(
            self._root,
            self._descriptors,
            self._telling,
            self.counts,
            self._contents,
            self._links,
            self._xattrs,
        )
        self._directory_ids: dict[bytes, int] = {}
        self._seen: set[tuple[int, int]] = set()

    def run(self) -> Counts:
        """Walk the tree.

        Raises:
            OSError: the root cannot be listed.
        """
        stack = [self._root]
        try:
            self._root.pending = os.listdir(self._descriptors.fd(self._root))
            self._objects.attributes(Place(self._root, ".", b""))
            self._enter(self._root)
            while stack:
                directory = stack[-1]
                if not directory.pending:
                    self._descriptors.close(directory)
                    stack.pop()
                    continue
                below = self._visit(directory, directory.pending.pop())
                if below is not None:
                    stack.append(below)
            self._objects.sidecars_of_links()
        finally:
            self._links.close()
            self._descriptors.close_all()
            self._contents.wipe()
            self._xattrs.wipe()
        return self.counts

    def _looked_at(self, count: int) -> None:
        self.counts.bytes_read += count
        self._progress()

    # -- directories --------------------------------------------------------------------------------------

    def _enter(self, directory: Directory) -> None:
        """A directory that was just listed: its id, and the order of its entries."""
        self.counts.directories += 1
        self._seen.add(directory.key)
        place = Place.of(directory)
        fd = self._descriptors.fd(directory)
        found = self._directory_id(directory, fd)
        if isinstance(found, bytes):
            directory.id = found
            self._unique_id(directory, place)
        elif found.code is Code.NOT_CHECKED:
            self._telling.tell(place, found)
        elif self._needs_an_id(directory, found):
            self._lost_id(directory, place, found)
        directory.pending.sort(reverse=True)
        if directory is self._root and directory.id is not None:
            # First, so that nothing that a repair moves there is met again.
            stored = self._keys.encoded_names(directory.id, LOST_FOUND)
            directory.pending.sort(key=lambda name: name in stored)

    def _directory_id(self, directory: Directory, fd: int) -> bytes | Flaw:
        if dirid.FILE_NAME not in directory.pending:
            return Flaw(Code.DIRECTORY_ID_MISSING)
        try:
            return self._keys.open_directory_id(read_small(dirid.FILE_NAME, fd))
        except Damaged as error:
            return Flaw(Code.DIRECTORY_ID_DAMAGED, error.strerror or "")
        except OSError as error:
            code = Code.NOT_CHECKED if error.errno in DENIED else Code.DIRECTORY_ID_DAMAGED
            return Flaw(code, os.strerror(error.errno or errno.EIO))

    def _needs_an_id(self, directory: Directory, flaw: Flaw) -> bool:
        """A directory without entries is empty without an id file, too (docs/format.md 2.1); but for the root."""
        if flaw.code is not Code.DIRECTORY_ID_MISSING or directory is self._root:
            return True
        return any(names.is_entry(name) for name in directory.pending)

    def _lost_id(self, directory: Directory, place: Place, flaw: Flaw) -> None:
        count = sum(role_of(name) in (Role.ENTRY, Role.LONG_ENTRY) for name in directory.pending)
        directory.names_lost = True
        self._telling.tell(
            place,
            Flaw(
                flaw.code,
                "; ".join(filter(None, (flaw.detail, f"{count} {'name' if count == 1 else 'names'} lost"))),
            ),
            lambda: self._telling.mending.furnish_anew(directory),
        )

    def _unique_id(self, directory: Directory, place: Place) -> None:
        assert directory.id is not None
        first = self._directory_ids.setdefault(directory.id, directory.key[1])
        if first == directory.key[1]:
            return
        empty = all(role_of(name) in (Role.DIRECTORY_ID, Role.FOREIGN) for name in directory.pending)
        mend = (lambda: self._telling.mending.new_id(directory)) if empty else None
        self._telling.tell(place, Flaw(Code.DIRECTORY_ID_COPIED, f"the other has inode {first}"), mend)

    # -- entries ------------------------------------------------------------------------------------------

    def _visit(self, directory: Directory, stored: str) -> Directory | None:
        """One name in a directory; returns the directory it stands for, if it is one to walk through."""
        self._progress()
        role = role_of(stored)
        place = Place(directory, stored, None)
        try:
            fd = self._descriptors.fd(directory)
            status = os.stat(stored, dir_fd=fd, follow_symlinks=False)
        except OSError as error:
            if role is not Role.SIDECAR or error.errno != errno.ENOENT:  # that went with its entry
                self._telling.failed(place, error)
            return None
        if (
            directory is self._root
            and stored == links.DIRECTORY
            and self._objects.folder_of_links(place, status)
        ):
            return None
        if role is Role.DIRECTORY_ID or (role is Role.SIDECAR and self._sidecar(place, fd, status)):
            return None
        if role is Role.TEMPORARY and self._leftover(place, fd, status):
            return None
        settled = self._named(place, role, fd, status)
        return None if settled is None else self._object(settled, status)

    def _sidecar(self, place: Place, fd: int, status: os.stat_result) -> bool:
        """The text of a long name; returns False if it is a directory, which is none."""
        if stat.S_ISDIR(status.st_mode):
            return False
        try:
            os.stat(place.stored.removesuffix(names.LONG_SUFFIX), dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            name = self._name_in_sidecar(place, fd)
            place = Place(place.directory, place.stored, name)
            self._telling.tell(
                place, Flaw(Code.LONG_NAME_ORPHAN), lambda: self._telling.mending.remove(place)
            )
        return True

    def _name_in_sidecar(self, place: Place, fd: int) -> bytes | None:
        encoded = read_sidecar(fd, place.stored)
        if isinstance(encoded, Flaw) or place.directory.id is None:
            return None
        try:
            return self._keys.open_name(place.directory.id, encoded)
        except Damaged:
            return None

    def _leftover(self, place: Place, fd: int, status: os.stat_result) -> bool:
        """An object with a temporary name; returns False if it has contents: entries, or those of a file of this vault."""
        if stat.S_ISREG(status.st_mode) and self._is_ours(place.stored, fd, status):
            return False
        if stat.S_ISDIR(status.st_mode):
            try:
                found = _listed(place.stored, fd)
            except OSError as error:
                if not self._telling.removed_unread(place):
                    self._telling.failed(place, error)
                return True
            if any(role_of(name) not in (Role.DIRECTORY_ID, Role.SIDECAR) for name in found):
                return False
        self._telling.tell(place, Flaw(Code.LEFTOVER), lambda: self._telling.mending.remove(place))
        return True

    def _named(self, place: Place, role: Role, fd: int, status: os.stat_result) -> Place | None:
        """The entry with its plaintext name, moved if it has none and a repair is wanted; None: not of the vault."""
        directory = place.directory
        name, flaw = None, None
        if role is Role.TEMPORARY:
            flaw = Flaw(Code.LEFTOVER_FULL)
        elif role in (Role.FOREIGN, Role.SIDECAR):
            if not self._is_ours(place.stored, fd, status):
                self._links.complete &= not stat.S_ISDIR(status.st_mode)
                self._telling.tell(place, Flaw(Code.FOREIGN))
                return None
            flaw = Flaw(Code.NAME_DAMAGED, "it is not even a name of the format")
        elif directory.id is not None:
            name, flaw = read_name(self._keys, directory.id, fd, place.stored, role)
        if flaw is None:
            return Place(directory, place.stored, name)
        moved: list[Place] = []

        def move() -> str:
            moved.append(self._telling.mending.move(place))
            return "now " + moved[0].path.decode("utf-8", "replace")

        # The finding about a lost id stands for all its names.
        self._telling.tell(place, flaw, move, only_failure=directory.names_lost)
        return moved[0] if moved else place

    def _is_ours(self, stored: str, fd: int, status: os.stat_result) -> bool:
        """Whether an object with a foreign name has contents of this vault."""
        kind = stat.S_IFMT(status.st_mode)
        try:
            if kind == stat.S_IFLNK:
                return self._links.look(os.readlink(stored, dir_fd=fd)) is None
            if kind not in (stat.S_IFREG, stat.S_IFDIR):
                return False
            flags = FILE_FLAGS if kind == stat.S_IFREG else DIRECTORY_FLAGS
            opened = os.open(stored, flags, dir_fd=fd)
        except OSError:
            return False
        try:
            if kind == stat.S_IFREG:
                return self._contents.is_ours(opened)
            inside = (Role.DIRECTORY_ID, Role.ENTRY, Role.LONG_ENTRY)
            return any(role_of(name) in inside for name in os.listdir(opened))
        except OSError:
            return False
        finally:
            os.close(opened)

    # -- objects ------------------------------------------------------------------------------------------

    def _object(self, place: Place, status: os.stat_result) -> Directory | None:
        if stat.S_ISDIR(status.st_mode):
            self._objects.attributes(place)
            return self._descend(place)
        self._objects.check(place, status)
        return None

    def _descend(self, place: Place) -> Directory | None:
        try:
            fd = os.open(place.stored, DIRECTORY_FLAGS, dir_fd=self._descriptors.fd(place.directory))
        except OSError as error:
            self._telling.failed(place, error)
            return None
        status = os.fstat(fd)
        directory = Directory(place.directory, place.stored, place.name, (status.st_dev, status.st_ino))
        if directory.key in self._seen:
            os.close(fd)
            self._telling.tell(place, Flaw(Code.DIRECTORY_REPEATED))
            return None
        if place.directory is self._root and place.name == LOST_FOUND:
            directory.in_lost_found = True
        self._descriptors.adopt(directory, fd)
        try:
            directory.pending = os.listdir(fd)
        except OSError as error:
            self._descriptors.close(directory)
            self._telling.failed(place, error)
            return None
        self._enter(directory)
        return directory


def _listed(stored: str, fd: int) -> list[str]:
    below = os.open(stored, DIRECTORY_FLAGS, dir_fd=fd)
    try:
        return os.listdir(below)
    finally:
        os.close(below)
