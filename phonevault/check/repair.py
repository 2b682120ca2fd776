"""What a repair changes in a tree.

Each change is one rename or removal, or is prepared under a temporary name and then renamed: whatever interrupts a repair,
the next one goes on from there. Nothing with contents is ever removed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat

from phonevault.check.keys import CheckKeys
from phonevault.check.names import Role, role_of
from phonevault.check.places import DIRECTORY_FLAGS, Descriptors, Directory, Place
from phonevault.fs.format import dirid, names
from phonevault.fs.small_files import exists, read_small, rename_to_free, temporary_name, write_new
from phonevault.fs.syscalls import NO_SUCH_FLAG, RENAME_EXCHANGE, rename

LOST_FOUND = b"lost+found"
_KEPT_NAME_BYTES = 120
"""Of a known name in a new one: so the new one never needs a sidecar."""
_SECOND_NAMES = 100


class Repair:
    """Changes a tree.

    Args:
        root: its root.
        descriptors: of the walk.
        keys: of all live epochs.
    """

    def __init__(self, root: Directory, descriptors: Descriptors, keys: CheckKeys) -> None:
        self._root = root
        self._descriptors = descriptors
        self._keys = keys
        self._siv = keys.names
        self._lost_found: Directory | None = None

    # -- removals -----------------------------------------------------------------------------------------

    def remove(self, place: Place) -> str:
        """Remove a leftover: a file, or a directory with nothing in it but its id and texts of long names.

        Raises:
            OSError: it cannot be removed.
        """
        fd = self._descriptors.fd(place.directory)
        if stat.S_ISDIR(os.stat(place.stored, dir_fd=fd, follow_symlinks=False).st_mode):
            below = os.open(place.stored, DIRECTORY_FLAGS, dir_fd=fd)
            try:
                for name in os.listdir(below):
                    if role_of(name) in (Role.DIRECTORY_ID, Role.SIDECAR):
                        os.unlink(name, dir_fd=below)
            finally:
                os.close(below)
            os.rmdir(place.stored, dir_fd=fd)
        else:
            os.unlink(place.stored, dir_fd=fd)
        return "removed"

    def remove_empty(self, place: Place) -> bool:
        """Remove a directory that may be another user's and cannot be looked into; False if it stays: most likely it is not empty."""
        try:
            os.rmdir(place.stored, dir_fd=self._descriptors.fd(place.directory))
        except OSError:
            return False
        return True

    # -- moves --------------------------------------------------------------------------------------------

    def move(self, place: Place) -> Place:
        """Give an entry a new name: where it is, if that is in lost+found, else there.

        The new name follows from the stored one (its SHA-256) and from what is known of the old one.

        Raises:
            OSError: it cannot be moved; nothing was changed.
        """
        target = place.directory if place.directory.in_lost_found else self._lost_and_found()
        assert target.id is not None
        target_fd = self._descriptors.fd(target)
        source_fd = self._descriptors.fd(place.directory)
        digest = hashlib.sha256(os.fsencode(place.stored)).hexdigest()[:16]
        name = _new_name(place.name, digest)
        stored = names.encrypt_name(self._siv, target.id, name)
        try:
            rename_to_free(source_fd, place.stored, target_fd, stored)
        except FileExistsError:
            name = _new_name(place.name, secrets.token_hex(8))
            stored = names.encrypt_name(self._siv, target.id, name)
            rename_to_free(source_fd, place.stored, target_fd, stored)
        # The move is made: if it is not durable, a power cut leaves the old state, which the next repair finds again.
        with contextlib.suppress(OSError):
            os.fsync(target_fd)
            os.fsync(source_fd)
        if role_of(place.stored) is Role.LONG_ENTRY:
            with contextlib.suppress(OSError):
                os.unlink(place.stored + names.LONG_SUFFIX, dir_fd=source_fd)
        return Place(target, stored, name)

    # -- directory ids ------------------------------------------------------------------------------------

    def furnish_anew(self, directory: Directory) -> str:
        """A directory whose id is lost: into lost+found with it, then a new id. The root stays where it is.

        Raises:
            OSError: it cannot be moved or written to.
        """
        if directory is not self._root and not directory.in_lost_found:
            moved = self.move(Place.of(directory))
            directory.parent, directory.stored, directory.name = moved.directory, moved.stored, moved.name
            directory.in_lost_found = True
        self.new_id(directory)
        if directory is self._root:
            return "a new id; entries moved to lost+found"
        return "now " + Place.of(directory).path.decode("utf-8", "replace")

    def new_id(self, directory: Directory) -> str:
        """Give a directory a new id, durable before it can be seen.

        Raises:
            OSError: it cannot be written.
        """
        fd = self._descriptors.fd(directory)
        new, temporary = dirid.new_directory_id(), temporary_name()
        write_new(temporary, dirid.seal_directory_id(self._siv, new), fd, like=os.fstat(fd))
        try:
            try:
                rename(fd, temporary, fd, dirid.FILE_NAME, RENAME_EXCHANGE)
            except OSError as error:
                if error.errno not in (errno.ENOENT, *NO_SUCH_FLAG):
                    raise
                os.rename(temporary, dirid.FILE_NAME, src_dir_fd=fd, dst_dir_fd=fd)
            os.fsync(fd)
        finally:
            self._remove_aside(directory, fd, temporary)
        directory.id = new
        return "a new id"

    def _remove_aside(self, directory: Directory, fd: int, temporary: str) -> None:
        """Away with what is left under the temporary name; what cannot go at once, the walk looks at."""
        try:
            os.unlink(temporary, dir_fd=fd)
        except FileNotFoundError:
            return
        except OSError:
            directory.pending.append(temporary)

    # -- lost+found ---------------------------------------------------------------------------------------

    def _lost_and_found(self) -> Directory:
        """The folder in the root, made if it is not there."""
        if self._lost_found is None:
            if self._root.id is None:
                raise OSError(errno.EIO, "the root has no id that opens")
            name = LOST_FOUND
            for number in range(2, _SECOND_NAMES):
                found = self._as_lost_found(name)
                if found is not None:
                    self._lost_found = found
                    return found
                name = LOST_FOUND + b"-%d" % number
            raise FileExistsError(errno.EEXIST, "no name for lost+found is free")
        return self._lost_found

    def _as_lost_found(self, name: bytes) -> Directory | None:
        """The directory of that name, made if there is nothing; None if something else has the name."""
        assert self._root.id is not None
        root_fd = self._descriptors.fd(self._root)
        newest, *older = self._keys.encoded_names(self._root.id, name)
        stored = next((each for each in older if exists(each, root_fd)), newest)
        try:
            fd = os.open(stored, DIRECTORY_FLAGS, dir_fd=root_fd)
        except FileNotFoundError:
            self._make_directory(root_fd, stored)
            fd = os.open(stored, DIRECTORY_FLAGS, dir_fd=root_fd)
        except (NotADirectoryError, OSError) as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                return None
            raise
        try:
            status = os.fstat(fd)
            found = Directory(self._root, stored, name, (status.st_dev, status.st_ino))
            found.id = self._keys.open_directory_id(read_small(dirid.FILE_NAME, fd))
        except OSError:
            os.close(fd)
            return None
        found.in_lost_found = True
        self._descriptors.adopt(found, fd)
        return found

    def _make_directory(self, root_fd: int, stored: str) -> None:
        """As MKDIR does (docs/format.md 2)."""
        temporary = temporary_name()
        os.mkdir(temporary, 0o700, dir_fd=root_fd)
        fd = os.open(temporary, DIRECTORY_FLAGS, dir_fd=root_fd)
        try:
            owner = os.fstat(root_fd)
            if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(fd, owner.st_uid, owner.st_gid)
            sealed = dirid.seal_directory_id(self._siv, dirid.new_directory_id())
            write_new(dirid.FILE_NAME, sealed, fd, like=owner)
            os.fsync(fd)
        finally:
            os.close(fd)
        rename_to_free(root_fd, temporary, root_fd, stored)
        os.fsync(root_fd)


def _new_name(known: bytes | None, digest: str) -> bytes:
    if known is None or known == LOST_FOUND:
        return b"recovered-" + digest.encode("ascii")
    return known[:_KEPT_NAME_BYTES] + b".recovered-" + digest.encode("ascii")
