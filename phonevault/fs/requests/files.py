"""OPEN, CREATE, READ, WRITE, RELEASE, FSYNC: a regular file's contents.

All handles of a file share one descriptor and one :class:`ContentFile`, so file handles need no number of their own.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from phonevault.fs import mtimes
from phonevault.fs.access import mode_changes, open_however
from phonevault.fs.contents.sparse_file import SparseFile
from phonevault.fs.core import Core, contents_of
from phonevault.fs.creation import Owner, make_object
from phonevault.fs.nodes import Node, PathHandle, key_of
from phonevault.fuse import abi
from phonevault.fuse.request import Request

_ACCESS = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
_OURS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | _OURS


class FileOperations:
    """Handlers over a :class:`Core`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    # -- open and close -----------------------------------------------------------------------------------

    def open(self, request: Request) -> bytes:
        """OPEN, with O_TRUNC (ATOMIC_O_TRUNC)."""
        flags, open_flags = abi.OPEN_IN.unpack_from(request.body)
        node = self._core.nodes.get(request.nodeid)
        self._acquire(node, write=flags & _ACCESS != os.O_RDONLY or bool(flags & os.O_TRUNC))
        try:
            if flags & os.O_TRUNC:
                self._core.keys  # noqa: B018  locked: refuse before anything is cut
                contents_of(node).truncate(self._core.keys, 0, request.cipher, request.plain)
                self._core.drop_capability(node, contents_of(node).fd)
                if open_flags & abi.OPEN_KILL_SUIDGID:
                    kill_suidgid(contents_of(node).fd)
            else:
                contents_of(node).refuse_broken()
        except OSError:
            self._release(node)
            raise
        return self._opened(flags)

    def create(self, request: Request) -> list[bytes]:
        """CREATE: make a regular file and open it."""
        flags, mode, umask, _ = abi.CREATE_IN.unpack_from(request.body)
        core = self._core
        parent = core.nodes.get(request.nodeid)
        name = abi.name_of(request.body[abi.CREATE_IN.size :])
        owner = Owner.of(core, parent, request, stat.S_IFREG | mode, umask)
        try:
            stored, fd = make_object(
                core, parent, name, owner, lambda new, at: os.open(new, _NEW, owner.mode, dir_fd=at)
            )
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
            return self._open_existing(parent, core.stored(parent, name), flags, request)
        entry = core.entry(parent, stored, os.fstat(fd))
        node = core.nodes.get(abi.ENTRY_OUT.unpack_from(entry)[0])
        return [entry, self.opened_new(node, fd, flags)]

    def opened_new(self, node: Node, fd: int, flags: int) -> bytes:
        """A file that was just made and that nobody else has open: the first handle, for reading and writing."""
        with self._core.nodes.lock:
            self._attach(node, fd)
            node.writable = node.writers = True
            mtimes.begin(self._core, node)
            node.opens += 1
        node.incapable = not self._core.shared
        return self._opened(flags)

    def release(self, request: Request) -> bytes:
        """RELEASE."""
        self._release(self._core.nodes.get(request.nodeid))
        return b""

    # -- contents -----------------------------------------------------------------------------------------

    def read(self, request: Request) -> memoryview:
        """READ."""
        _, offset, size, *_ = abi.READ_IN.unpack_from(request.body)
        contents = contents_of(self._core.nodes.get(request.nodeid))
        return contents.read(self._core.keys, offset, size, request.cipher, request.plain)

    def write(self, request: Request) -> bytes:
        """WRITE."""
        _, offset, size, flags, _, open_flags, _ = abi.WRITE_IN.unpack_from(request.body)
        node = self._core.nodes.get(request.nodeid)
        contents = contents_of(node)
        data = request.body[abi.WRITE_IN.size :]
        if len(data) != size:
            raise OSError(errno.EIO, "the request is cut short")
        if self._core.shared and open_flags & os.O_APPEND:
            # The kernel's offset is the end that it knows of; without a writeback cache the true end is ours to find.
            contents.append(self._core.keys, data, request.cipher, request.plain)
        else:
            contents.write(self._core.keys, offset, data, request.cipher, request.plain)
        if flags & abi.WRITE_KILL_SUIDGID:
            kill_suidgid(contents.fd)
        return abi.WRITE_OUT.pack(size, 0)

    def fsync(self, request: Request) -> bytes:
        """FSYNC: returns when the ciphertext is on stable storage."""
        _, flags, _ = abi.FSYNC_IN.unpack_from(request.body)
        node = self._core.nodes.get(request.nodeid)
        contents = contents_of(node)
        mtimes.restore(self._core, node, at_most_ns=mtimes.NEAR_NS)
        contents.sync(data_only=bool(flags & abi.FSYNC_FDATASYNC))
        return b""

    def truncate(self, node: Node, size: int, request: Request) -> None:
        """Cut or extend a file, open or not.

        Raises:
            OSError: EISDIR or EINVAL for what is no regular file.
        """
        if not stat.S_ISREG(node.mode):
            raise OSError(errno.EISDIR if stat.S_ISDIR(node.mode) else errno.EINVAL, "not a regular file")
        with self.writable(node) as contents:
            contents.truncate(self._core.keys, size, request.cipher, request.plain)
            self._core.drop_capability(node, contents.fd)

    @contextmanager
    def writable(self, node: Node) -> Iterator[SparseFile]:
        """The contents of a regular file, open or not, for as long as the body runs."""
        self._acquire(node, write=True)
        try:
            yield contents_of(node)
        finally:
            self._release(node)

    # -- descriptors --------------------------------------------------------------------------------------

    def _acquire(self, node: Node, *, write: bool) -> None:
        """Count a handle; open the ciphertext file if it is not, or not for writing."""
        with self._core.nodes.lock:
            if node.contents is None or (write and not node.writable):
                self._open_backing(node, write=write)
            node.opens += 1
            node.writers = node.writers or write

    def _open_backing(self, node: Node, *, write: bool) -> None:
        flags = os.O_RDWR if write else os.O_RDONLY
        if node.contents is not None:
            fd = os.open(f"/proc/self/fd/{node.contents.fd}", flags | os.O_CLOEXEC)
            with node.contents.guard:
                os.dup2(fd, node.contents.fd, inheritable=False)
            os.close(fd)
        elif node.handle is not None:
            self._attach(node, os.open(f"/proc/self/fd/{node.handle.fd}", flags | os.O_CLOEXEC))
        else:
            self._attach(
                node, self._core.at_its_place(node, lambda at, stored: _open_object(node, stored, flags, at))
            )
        node.writable = write
        if write:
            mtimes.begin(self._core, node)

    def _attach(self, node: Node, fd: int) -> None:
        """The descriptor is closed with its last user: a GETATTR may still look at it when the last handle goes."""
        handle = PathHandle(fd)
        node.contents = self._core.contents(fd)
        node.backing = handle

    def _release(self, node: Node) -> None:
        with self._core.nodes.lock:
            node.opens -= 1
            if node.opens > 0 or node.contents is None:
                return
            mtimes.restore(self._core, node)
            contents, node.contents, node.mtime_ns = node.contents, None, None
            contents.wipe()
            node.backing = None
            node.writable = node.writers = False
            if node.lookups <= 0:
                self._core.nodes.forget(node.id, 0)

    def _open_existing(self, parent: Node, stored: str, flags: int, request: Request) -> list[bytes]:
        """CREATE without O_EXCL met what another host made meanwhile.

        Raises:
            OSError: ESTALE where it is no regular file: the kernel then looks the name up again, and follows a link itself.
        """
        core = self._core
        status = core.stat_entry(core.nodes.directory(parent).fd, stored)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.ESTALE, "not a regular file")
        entry = core.entry(parent, stored, status)
        node = core.nodes.get(abi.ENTRY_OUT.unpack_from(entry)[0])
        self._acquire(node, write=True)
        if flags & os.O_TRUNC:
            try:
                contents_of(node).truncate(core.keys, 0, request.cipher, request.plain)
            except OSError:
                self._release(node)
                raise
            node.mtime_ns = None
        return [entry, self._opened(flags)]

    def _opened(self, flags: int = 0) -> bytes:
        how = abi.FOPEN_KEEP_CACHE
        if self._core.shared:
            # The kernel would put what is appended into its pages at the end that it knows of.
            appends = flags & (_ACCESS | os.O_APPEND) == os.O_WRONLY | os.O_APPEND
            how = abi.FOPEN_DIRECT_IO if appends else 0
        return abi.OPEN_OUT.pack(0, how, 0)


def kill_suidgid(ciphertext: int | str) -> None:
    """What a write by someone without CAP_FSETID does to the mode (HANDLE_KILLPRIV_V2).

    Set-group-id without group execute means mandatory locking and stays.

    Args:
        ciphertext: an open descriptor, or the path in /proc of an O_PATH one.
    """
    with mode_changes:
        mode = stat.S_IMODE(os.stat(ciphertext).st_mode)
        left = mode & ~stat.S_ISUID
        if mode & stat.S_IXGRP:
            left &= ~stat.S_ISGID
        if left != mode:
            os.chmod(ciphertext, left)


def _open_object(node: Node, stored: str, flags: int, directory_fd: int) -> int:
    fd = open_however(stored, flags | _OURS, directory_fd)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or key_of(status) != node.key:
        os.close(fd)
        raise OSError(errno.ESTALE, "another object is in its place")
    return fd
