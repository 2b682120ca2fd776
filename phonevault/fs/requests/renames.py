"""RENAME and RENAME2."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import nullcontext
from dataclasses import dataclass

from phonevault.fs import sidecars
from phonevault.fs.core import Core
from phonevault.fs.format import names
from phonevault.fs.nodes import Node, PathHandle, pinned
from phonevault.fs.removal import without_id
from phonevault.fs.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE, rename
from phonevault.fuse import abi
from phonevault.fuse.request import Request


@dataclass(frozen=True)
class _Entry:
    """What lies under a name before a rename.

    Attributes:
        pin: the object, held so that its inode number is not given away.
        status: its status.
    """

    pin: PathHandle
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        """Whether it is one."""
        return stat.S_ISDIR(self.status.st_mode)


@dataclass(frozen=True)
class _Place:
    """One end of a rename.

    Attributes:
        parent: the directory.
        handle: its descriptor.
        stored: name in the ciphertext directory.
    """

    parent: Node
    handle: PathHandle
    stored: str

    def entry(self) -> _Entry | None:
        """What lies there."""
        try:
            pin = pinned(self.handle.fd, self.stored)
        except FileNotFoundError:
            return None
        return _Entry(pin, os.fstat(pin.fd))

    @property
    def link(self) -> tuple[Node, str]:
        """As in :attr:`Node.links`."""
        return self.parent, self.stored


class RenameOperations:
    """Handlers over a :class:`Core`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def rename(self, request: Request) -> bytes:
        """RENAME."""
        (target,) = abi.RENAME_IN.unpack_from(request.body)
        return self._rename(request, target, 0, abi.RENAME_IN.size)

    def rename2(self, request: Request) -> bytes:
        """RENAME2: RENAME_NOREPLACE and RENAME_EXCHANGE."""
        target, flags, _ = abi.RENAME2_IN.unpack_from(request.body)
        if flags not in (0, RENAME_NOREPLACE, RENAME_EXCHANGE):
            raise OSError(errno.EINVAL, "no such kind of rename here")
        return self._rename(request, target, flags, abi.RENAME2_IN.size)

    def _rename(self, request: Request, target_id: int, flags: int, skip: int) -> bytes:
        core = self._core
        old_name, new_name = abi.two_names_of(request.body[skip:])
        source, target = core.nodes.get(request.nodeid), core.nodes.get(target_id)
        encoded = core.encoded(target, new_name)
        old = _Place(source, core.nodes.directory(source), core.stored(source, old_name))
        new = _Place(target, core.nodes.directory(target), names.stored_name(encoded))
        moved, replaced = old.entry(), new.entry()
        if moved is None or (flags & RENAME_EXCHANGE and replaced is None):
            raise FileNotFoundError(errno.ENOENT, "no such entry")
        if flags & RENAME_NOREPLACE and replaced is not None:
            raise FileExistsError(errno.EEXIST, "there is something of that name")
        if replaced is not None and os.path.samestat(moved.status, replaced.status):
            return b""
        with core.nodes.lock:
            core.moved_to(new.handle, new.stored)
            core.moved_to(old.handle, old.stored)
            if replaced is not None and flags & RENAME_EXCHANGE:
                self._exchange(old, moved, new, replaced)
                return b""
            with sidecars.named(new.handle.fd, encoded):
                self._move(old, moved, new, replaced, flags)
            sidecars.drop(old.handle.fd, old.stored)
        return b""

    def _exchange(self, old: _Place, moved: _Entry, new: _Place, replaced: _Entry) -> None:
        """Two objects exchange their places; the names stay, and their sidecars with them."""
        rename(old.handle.fd, old.stored, new.handle.fd, new.stored, RENAME_EXCHANGE)
        self._core.nodes.moved(moved.status, old.link, new.link)
        self._core.nodes.moved(replaced.status, new.link, old.link)

    def _move(self, old: _Place, moved: _Entry, new: _Place, replaced: _Entry | None, flags: int) -> None:
        empty = moved.is_directory and replaced is not None and replaced.is_directory
        try:
            with without_id(new.handle.fd, new.stored) if empty else nullcontext():
                rename(old.handle.fd, old.stored, new.handle.fd, new.stored, flags)
        except OSError:
            if replaced is not None:
                self._core.forget_directory_id(replaced.status)
            raise
        if replaced is not None:
            last = replaced.is_directory or replaced.status.st_nlink <= 1
            self._core.unlinked(replaced.pin, replaced.status, new.parent, new.stored, last=last)
        self._core.nodes.moved(moved.status, old.link, new.link)
