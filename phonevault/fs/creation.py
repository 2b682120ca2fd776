"""Making an object whole or not at all.

What can be made complete in one step is made under its own name. Everything else (a directory with its id, an object for another user,
set-id bits that outlive the change of owner,
an access list) is made under a temporary name, furnished there, and then moved into place: whoever looks,
also after a crash, sees all of it or nothing.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from typing import NamedTuple

from phonevault.fs import sidecars
from phonevault.fs.core import Core
from phonevault.fs.format import dirid, names
from phonevault.fs.nodes import Node
from phonevault.fs.permissions import NewObject
from phonevault.fs.removal import remove_leftover, without_id
from phonevault.fs.small_files import place_directory, temporary_name, write_new
from phonevault.fs.syscalls import NO_SUCH_FLAG, RENAME_NOREPLACE, rename
from phonevault.fuse.request import Request

_PIN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Make = Callable[[str, int], int]
"""Makes an object by its stored name in a directory and returns a descriptor of it; on failure there is no object."""


class Owner(NamedTuple):
    """Whose a new object shall be, and what others may do with it.

    Attributes:
        uid: user id of who makes it.
        gid: group id of who makes it; in a set-group-id directory the directory's group counts.
        new: its mode and access lists.
    """

    uid: int
    gid: int
    new: NewObject

    @classmethod
    def of(cls, core: Core, parent: Node, request: Request, mode: int, umask: int) -> Owner:
        """The caller of a request that asks for an object of this mode, type included, in ``parent``."""
        return cls(request.uid, request.gid, core.permissions.new_object(parent, mode, umask))

    @property
    def mode(self) -> int:
        """Permission bits to make it with."""
        return stat.S_IMODE(self.new.first_mode)


def make_object(core: Core, parent: Node, name: bytes, owner: Owner, make: Make) -> tuple[str, int]:
    """Make anything but a directory.

    Returns:
        Its stored name, and the descriptor that ``make`` returned.

    Raises:
        OSError: EEXIST, EPERM (the daemon may not give it to that owner), …; nothing is left of it.
    """
    encoded = core.encoded(parent, name)
    handle = core.nodes.directory(parent)
    if core.owns(owner.uid, owner.gid) and owner.new.access is None:
        return _make_in_place(handle.fd, encoded, make)
    temporary = temporary_name()
    fd = make(temporary, handle.fd)
    try:
        furnish(core, fd, owner, handle.fd)
        return _move_in(handle.fd, temporary, encoded, _place_object), fd
    except OSError:
        _take_back(handle.fd, fd, temporary, names.stored_name(encoded))
        os.close(fd)
        raise


def _make_in_place(directory_fd: int, encoded: str, make: Make) -> tuple[str, int]:
    fd = None
    try:
        with sidecars.named(directory_fd, encoded) as stored:
            fd = make(stored, directory_fd)
        return stored, fd
    except OSError:
        if fd is not None:  # another host took the sidecar away, and it cannot be made again
            _take_back(directory_fd, fd, names.stored_name(encoded))
            os.close(fd)
        raise


def _take_back(directory_fd: int, fd: int, *places: str) -> None:
    """Remove an object from wherever it is of two places; what somebody else has put there stays."""
    made = os.fstat(fd)
    for place in places:
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(place, dir_fd=directory_fd, follow_symlinks=False), made):
                os.unlink(place, dir_fd=directory_fd)
                sidecars.drop(directory_fd, place)


def make_directory(core: Core, parent: Node, name: bytes, owner: Owner) -> tuple[str, int, bytes]:
    """Make a directory: its id is durable before it can be seen.

    Returns:
        Its stored name, a descriptor of it, and its id.

    Raises:
        OSError: as :func:`make_object`.
    """
    encoded = core.encoded(parent, name)
    handle = core.nodes.directory(parent)
    temporary, directory_id = temporary_name(), dirid.new_directory_id()
    os.mkdir(temporary, 0o700, dir_fd=handle.fd)
    fd = None
    try:
        fd = os.open(temporary, _DIRECTORY, dir_fd=handle.fd)
        write_new(dirid.FILE_NAME, dirid.seal_directory_id(core.keys.names, directory_id), fd)
        os.fsync(fd)
        inherited = os.fstat(fd).st_mode & stat.S_ISGID
        furnish(core, fd, owner, handle.fd)
        os.fchmod(fd, stat.S_IMODE(owner.new.mode) | inherited)
        return _move_in(handle.fd, temporary, encoded, place_directory), fd, directory_id
    except OSError:
        with contextlib.suppress(OSError):
            _take_back_directory(handle.fd, fd, temporary, names.stored_name(encoded))
        if fd is not None:
            os.close(fd)
        raise


def _take_back_directory(directory_fd: int, fd: int | None, temporary: str, stored: str) -> None:
    """Remove a directory that did not come into place, or whose sidecar cannot be made again. Not one that has entries already.

    Raises:
        OSError: of the backing store.
    """
    with contextlib.suppress(FileNotFoundError):
        remove_leftover(directory_fd, temporary)
        return
    found = os.stat(stored, dir_fd=directory_fd, follow_symlinks=False)
    if fd is not None and os.path.samestat(found, os.fstat(fd)):
        with without_id(directory_fd, stored):
            os.rmdir(stored, dir_fd=directory_fd)
        sidecars.drop(directory_fd, stored)


def make_and_pin(make: Callable[[str, int], None]) -> Make:
    """A :data:`Make` from a call that makes an object without opening it."""

    def made(stored: str, directory_fd: int) -> int:
        make(stored, directory_fd)
        try:
            return os.open(stored, _PIN, dir_fd=directory_fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(stored, dir_fd=directory_fd)
            raise

    return made


def furnish(core: Core, fd: int, owner: Owner, parent_fd: int) -> None:
    """What an object needs before it is shown.

    Raises:
        OSError: EPERM, the daemon may not give it to that owner; ENOSPC, … for its lists.
    """
    path = f"/proc/self/fd/{fd}"
    if not core.owns(owner.uid, owner.gid):
        group = -1 if os.fstat(parent_fd).st_mode & stat.S_ISGID else owner.gid
        os.chown(path, owner.uid, group)
    core.permissions.furnish(path, owner.new)


def _move_in(directory_fd: int, temporary: str, encoded: str, place: Callable[[int, str, str], None]) -> str:
    with sidecars.named(directory_fd, encoded) as stored:
        place(directory_fd, temporary, stored)
        return stored


def _place_object(directory_fd: int, temporary: str, stored: str) -> None:
    """Give an object its name, over nothing. Not for directories, which cannot be linked (where the store knows no RENAME_NOREPLACE)."""
    try:
        rename(directory_fd, temporary, directory_fd, stored, RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in NO_SUCH_FLAG:
            raise
        os.link(temporary, stored, src_dir_fd=directory_fd, dst_dir_fd=directory_fd, follow_symlinks=False)
        os.unlink(temporary, dir_fd=directory_fd)
