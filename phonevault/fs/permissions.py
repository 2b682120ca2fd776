"""Access control lists and modes: what each does to the other, and what a new object gets of them.

The kernel checks permissions itself (default_permissions); here the lists are kept true, as Linux's own file systems keep them.
Between a list and a mode there is no moment, a crash included, that grants more than both the old and the new state.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

from phonevault.fs import acl
from phonevault.fs.access import mode_changes
from phonevault.fs.acl import Acl, AclInvalid
from phonevault.fs.errors import XattrDamaged
from phonevault.fs.format.xattrs import ACL_ACCESS, ACL_DEFAULT
from phonevault.fs.nodes import Node, PathHandle
from phonevault.fs.xattr_store import Ciphertext, XattrStore, is_special, path_of

_SET_ID = stat.S_ISUID | stat.S_ISGID


class NewObject(NamedTuple):
    """What an object about to be made is to have.

    Attributes:
        mode: in the end, its type included.
        access: its access list, if the mode does not say it all.
        default: the default list that it inherits: a directory does.
    """

    mode: int
    access: Acl | None = None
    default: Acl | None = None

    @property
    def first_mode(self) -> int:
        """To make it with: until the list is there, its group bits would be read as the owning group's."""
        return self.mode if self.access is None else self.mode & ~(stat.S_IRWXG | stat.S_IRWXO)


class Permissions:
    """Lists and modes of one tree.

    Args:
        xattrs: where the lists are.
        directory: gives a descriptor of a directory.
        cached: nobody else changes default lists, so that one that was read is remembered with its directory.
    """

    def __init__(self, xattrs: XattrStore, directory: Callable[[Node], PathHandle], *, cached: bool) -> None:
        self._xattrs = xattrs
        self._directory = directory
        self._cached = cached
        self._defaults: WeakKeyDictionary[Node, Acl | None] = WeakKeyDictionary()
        self._changes = 0
        self._lock = threading.Lock()

    def forget(self) -> None:
        """Drop the lists that are remembered (at a lock)."""
        with self._lock:
            self._changes += 1
            self._defaults.clear()

    def _forget_default(self, node: Node) -> None:
        """A default list has changed. What is being read at the moment may be the old one, and is not remembered."""
        with self._lock:
            self._changes += 1
            self._defaults.pop(node, None)

    # -- new objects --------------------------------------------------------------------------------------

    def new_object(self, parent: Node, mode: int, umask: int) -> NewObject:
        """What an object made in ``parent`` gets: the umask counts only where there is no default list.

        Args:
            parent: the directory.
            mode: as asked for, with the type.
            umask: of the caller.
        """
        inherited = self._default(parent)
        if inherited is None:
            return NewObject(mode & ~(umask & 0o777))
        access = inherited.for_new_object(mode)
        return NewObject(
            mode & ~0o777 | access.mode(),
            None if access.is_minimal else access,
            inherited if stat.S_ISDIR(mode) else None,
        )

    def furnish(self, ciphertext: Ciphertext, new: NewObject) -> None:
        """Give a new object its lists and, if it is no directory, its final mode.

        It was made with ``first_mode`` and has its owner; the change of owner took set-id bits.

        Raises:
            OSError: of the backing store (ENOSPC, …): the object must not stay.
        """
        mode = new.mode
        if new.default is not None:
            self._xattrs.set(ciphertext, mode, ACL_DEFAULT, acl.pack(new.default.entries))
        if new.access is not None:
            try:
                self._xattrs.set(ciphertext, mode, ACL_ACCESS, acl.pack(new.access.entries))
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP or not is_special(mode):
                    raise
                # A fifo, socket or device, and we are not root: nobody may get more than the list would grant.
                mode = mode & ~0o777 | new.access.mode_without()
        if not stat.S_ISDIR(mode) and (new.access is not None or mode & _SET_ID):
            os.chmod(ciphertext, stat.S_IMODE(mode))

    def _default(self, parent: Node) -> Acl | None:
        """The default list of a directory.

        The kernel lets nobody create in a directory while its list is set; but it makes nameless files (O_TMPFILE) at any moment.
        """
        if not self._xattrs.available:
            return None
        if self._cached:
            with contextlib.suppress(KeyError):
                return self._defaults[parent]
        changes = self._changes
        handle = self._directory(parent)
        found = self._find(path_of(handle.fd), stat.S_IFDIR, ACL_DEFAULT)
        if self._cached:
            with self._lock:
                if changes == self._changes:
                    self._defaults[parent] = found
        return found

    # -- changes ------------------------------------------------------------------------------------------

    def chmod(self, ciphertext: Ciphertext, kind: int, mode: int) -> None:
        """Change the permission bits, and the access list with them.

        Args:
            ciphertext: the object.
            kind: its type bits.
            mode: the new permission bits.
        """
        with mode_changes:
            if self._xattrs.available and not stat.S_ISLNK(kind):
                found = self._find(ciphertext, kind, ACL_ACCESS)
                if found is not None:
                    self._xattrs.set(ciphertext, kind, ACL_ACCESS, acl.pack(found.with_mode(mode).entries))
            os.chmod(ciphertext, stat.S_IMODE(mode))

    def set_list(
        self, ciphertext: Ciphertext, node: Node, name: bytes, raw: bytes, *, kill_sgid: bool
    ) -> None:
        """Set an access or default list; the mode follows the access list.

        Args:
            ciphertext: the node's object.
            node: whose list it is.
            name: of the attribute.
            raw: the list in its outside form.
            kill_sgid: the caller may not leave the set-group-id bit.

        Raises:
            OSError: EINVAL, EOPNOTSUPP where the object cannot carry one, or of the backing store.
        """
        try:
            given = acl.parse(raw)
        except AclInvalid:
            raise OSError(errno.EINVAL, "no access control list") from None
        if name == ACL_DEFAULT:
            try:
                self._xattrs.set(ciphertext, node.mode, ACL_DEFAULT, acl.pack(given.entries))
            finally:
                self._forget_default(node)
            return
        with mode_changes:
            old = stat.S_IMODE(os.stat(ciphertext).st_mode)
            mode = old & ~0o777 | given.mode()
            if kill_sgid:
                mode &= ~stat.S_ISGID
            if not given.is_minimal:
                self._xattrs.set(ciphertext, node.mode, ACL_ACCESS, acl.pack(given.entries))
            if mode != old:
                os.chmod(ciphertext, mode)
            if given.is_minimal:
                self._xattrs.discard(ciphertext, node.mode, ACL_ACCESS)

    def remove_list(self, ciphertext: Ciphertext, node: Node, name: bytes) -> None:
        """Remove a list, if there is one; the mode stays as it is."""
        try:
            self._xattrs.discard(ciphertext, node.mode, name)
        finally:
            if name == ACL_DEFAULT:
                self._forget_default(node)

    def _find(self, ciphertext: Ciphertext, kind: int, name: bytes) -> Acl | None:
        raw = self._xattrs.find(ciphertext, kind, name)
        if raw is None:
            return None
        try:
            return acl.parse(raw)
        except AclInvalid:
            raise XattrDamaged("an access control list breaks its rules") from None
