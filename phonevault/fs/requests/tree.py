"""MKDIR, MKNOD, SYMLINK, LINK, UNLINK, RMDIR, RENAME: changes of the tree.

The kernel holds the directories' locks during each of these, so no two of them meet in one directory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from phonevault.fs.attributes import device_from_kernel
from phonevault.fs.core import Core, temporary_name, write_durably
from phonevault.fs.format import dirid, names
from phonevault.fs.nodes import Node, PathHandle, pinned
from phonevault.fs.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE, rename
from phonevault.fuse import abi
from phonevault.fuse.request import Request

_SYMLINK_MAX = 4095


class TreeOperations:
    """Handlers over a :class:`Core`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    # -- in -----------------------------------------------------------------------------------------------

    def mkdir(self, request: Request) -> bytes:
        """MKDIR: made under a temporary name with its id durable, then renamed into place (docs/format.md 2)."""
        core = self._core
        mode, _ = abi.MKDIR_IN.unpack_from(request.body)
        parent = core.nodes.get(request.nodeid)
        encoded = core.encoded(parent, abi.name_of(request.body[abi.MKDIR_IN.size :]))
        handle = core.nodes.directory(parent)
        temporary, directory_id = temporary_name(), dirid.new_directory_id()
        os.mkdir(temporary, 0o700, dir_fd=handle.fd)
        try:
            self._furnish(temporary, handle.fd, directory_id, request, mode)
            stored = core.write_sidecar(handle.fd, encoded)
            rename(handle.fd, temporary, handle.fd, stored, RENAME_NOREPLACE)
        except OSError:
            core.remove_leftover(handle.fd, temporary)
            raise
        status = core.stat_entry(handle.fd, stored)
        entry = core.entry(parent, stored, status)
        core.nodes.get(abi.ENTRY_OUT.unpack_from(entry)[0]).directory_id = directory_id
        return entry

    def _furnish(
        self, temporary: str, parent_fd: int, directory_id: bytes, request: Request, mode: int
    ) -> None:
        """Id file, owner and mode of a directory that is not in place yet."""
        fd = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
        try:
            write_durably(dirid.FILE_NAME, dirid.seal_directory_id(self._core.keys.names, directory_id), fd)
            os.fsync(fd)
            self._core.give_to_caller(fd, request.uid, request.gid, parent_fd)
            inherited = os.fstat(fd).st_mode & stat.S_ISGID
            os.fchmod(fd, stat.S_IMODE(mode) | inherited)
        finally:
            os.close(fd)

    def mknod(self, request: Request) -> bytes:
        """MKNOD: regular files, fifos, sockets, devices."""
        core = self._core
        mode, device, _, _ = abi.MKNOD_IN.unpack_from(request.body)
        parent = core.nodes.get(request.nodeid)
        encoded = core.encoded(parent, abi.name_of(request.body[abi.MKNOD_IN.size :]))
        handle = core.nodes.directory(parent)
        stored = core.write_sidecar(handle.fd, encoded)
        os.mknod(stored, mode, device_from_kernel(device), dir_fd=handle.fd)
        return self._given(parent, stored, handle.fd, request, mode)

    def symlink(self, request: Request) -> bytes:
        """SYMLINK."""
        core = self._core
        name, target = abi.two_names_of(request.body)
        parent = core.nodes.get(request.nodeid)
        sealed = core.keys.seal_target(target)
        if len(sealed) > _SYMLINK_MAX:
            raise OSError(errno.ENAMETOOLONG, "the link's target is too long once encrypted")
        encoded = core.encoded(parent, name)
        handle = core.nodes.directory(parent)
        stored = core.write_sidecar(handle.fd, encoded)
        os.symlink(sealed, stored, dir_fd=handle.fd)
        return self._given(parent, stored, handle.fd, request, 0)

    def link(self, request: Request) -> bytes:
        """LINK: another name for an object, or the first one of a file made without (O_TMPFILE)."""
        core = self._core
        (old,) = abi.LINK_IN.unpack_from(request.body)
        node, parent = core.nodes.get(old), core.nodes.get(request.nodeid)
        encoded = core.encoded(parent, abi.name_of(request.body[abi.LINK_IN.size :]))
        handle, nameless = core.nodes.directory(parent), node.handle
        if not node.links and nameless is not None:
            above, source = None, f"/proc/self/fd/{nameless.fd}"
        else:
            place, source = core.nodes.place(node)
            above = core.nodes.directory(place)
        stored = core.write_sidecar(handle.fd, encoded)
        source_fd = None if above is None else above.fd
        os.link(source, stored, src_dir_fd=source_fd, dst_dir_fd=handle.fd, follow_symlinks=above is None)
        return core.entry(parent, stored, core.stat_entry(handle.fd, stored))

    def _given(self, parent: Node, stored: str, directory_fd: int, request: Request, mode: int) -> bytes:
        """Owner of a new object that no descriptor was opened on."""
        core = self._core
        path_fd = os.open(stored, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)
        try:
            if stat.S_ISLNK(os.fstat(path_fd).st_mode):
                if (request.uid, request.gid) != (os.geteuid(), os.getegid()):
                    group = -1 if os.fstat(directory_fd).st_mode & stat.S_ISGID else request.gid
                    os.chown(stored, request.uid, group, dir_fd=directory_fd, follow_symlinks=False)
            else:
                core.give_to_caller(path_fd, request.uid, request.gid, directory_fd)
                if mode & (stat.S_ISUID | stat.S_ISGID):
                    os.chmod(f"/proc/self/fd/{path_fd}", stat.S_IMODE(mode))
            return core.entry(parent, stored, os.fstat(path_fd))
        finally:
            os.close(path_fd)

    # -- out ----------------------------------------------------------------------------------------------

    def unlink(self, request: Request) -> bytes:
        """UNLINK."""
        core = self._core
        parent = core.nodes.get(request.nodeid)
        stored = core.stored(parent, abi.name_of(request.body))
        handle = core.nodes.directory(parent)
        pin = pinned(handle.fd, stored)
        last = os.fstat(pin.fd).st_nlink <= 1
        os.unlink(stored, dir_fd=handle.fd)
        self._gone(pin, parent, stored, handle.fd, last=last)
        return b""

    def rmdir(self, request: Request) -> bytes:
        """RMDIR: renamed out of sight first, so that an interrupted removal leaves no directory without an id."""
        core = self._core
        parent = core.nodes.get(request.nodeid)
        stored = core.stored(parent, abi.name_of(request.body))
        handle = core.nodes.directory(parent)
        pin = pinned(handle.fd, stored)
        self._check_empty(handle.fd, stored)
        temporary = temporary_name()
        os.rename(stored, temporary, src_dir_fd=handle.fd, dst_dir_fd=handle.fd)
        core.remove_leftover(handle.fd, temporary)
        self._gone(pin, parent, stored, handle.fd, last=True)
        return b""

    def _check_empty(self, directory_fd: int, stored: str) -> None:
        """Refuse a directory with entries; clear away what an interrupted change left.

        Raises:
            OSError: ENOTEMPTY, ENOTDIR.
        """
        fd = os.open(stored, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)
        try:
            found = os.listdir(fd)
            if any(names.is_entry(name) for name in found):
                raise OSError(errno.ENOTEMPTY, "directory not empty")
            for name in found:
                if name.startswith(names.TEMPORARY_PREFIX):
                    self._core.remove_leftover(fd, name)
                elif name.endswith(names.LONG_SUFFIX):
                    os.unlink(name, dir_fd=fd)
        finally:
            os.close(fd)

    def _gone(self, pin: PathHandle, parent: Node, stored: str, directory_fd: int, *, last: bool) -> None:
        """After a name went: its sidecar, and the node's place."""
        if names.is_long(stored):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(stored + names.LONG_SUFFIX, dir_fd=directory_fd)
        self._core.nodes.unlinked(pin, parent, stored, last=last)

    # -- about --------------------------------------------------------------------------------------------

    def rename(self, request: Request) -> bytes:
        """RENAME."""
        (target,) = abi.RENAME_IN.unpack_from(request.body)
        return self._rename(request, target, 0, abi.RENAME_IN.size)

    def rename2(self, request: Request) -> bytes:
        """RENAME2: RENAME_NOREPLACE and RENAME_EXCHANGE."""
        target, flags, _ = abi.RENAME2_IN.unpack_from(request.body)
        if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE):
            raise OSError(errno.EINVAL, "no such kind of rename here")
        return self._rename(request, target, flags, abi.RENAME2_IN.size)

    def _rename(self, request: Request, target_id: int, flags: int, skip: int) -> bytes:
        core = self._core
        old_name, new_name = abi.two_names_of(request.body[skip:])
        source, target = core.nodes.get(request.nodeid), core.nodes.get(target_id)
        old, encoded = core.stored(source, old_name), core.encoded(target, new_name)
        new = names.stored_name(encoded)
        source_handle, target_handle = core.nodes.directory(source), core.nodes.directory(target)
        moved = core.stat_entry(source_handle.fd, old)
        pin, replaced = None, None
        try:
            pin = pinned(target_handle.fd, new)
            replaced = os.fstat(pin.fd)
        except FileNotFoundError:
            core.write_sidecar(target_handle.fd, encoded)
        if replaced is not None and os.path.samestat(moved, replaced):
            return b""
        with core.nodes.lock:
            if flags & RENAME_EXCHANGE:
                rename(source_handle.fd, old, target_handle.fd, new, flags)
                core.nodes.moved(moved, (source, old), (target, new))
                if replaced is not None:
                    core.nodes.moved(replaced, (target, new), (source, old))
                return b""
            if replaced is not None and stat.S_ISDIR(replaced.st_mode) and not flags:
                self._replace_directory(source_handle.fd, old, target_handle.fd, new)
            else:
                rename(source_handle.fd, old, target_handle.fd, new, flags)
            if pin is not None and replaced is not None:
                last = stat.S_ISDIR(replaced.st_mode) or replaced.st_nlink <= 1
                core.nodes.unlinked(pin, target, new, last=last)
            core.nodes.moved(moved, (source, old), (target, new))
        if names.is_long(old):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(old + names.LONG_SUFFIX, dir_fd=source_handle.fd)
        return b""

    def _replace_directory(self, source_fd: int, old: str, target_fd: int, new: str) -> None:
        """A directory over an empty one: exchanged, then the old one goes out by a temporary name."""
        self._check_empty(target_fd, new)
        rename(source_fd, old, target_fd, new, RENAME_EXCHANGE)
        temporary = temporary_name()
        os.rename(old, temporary, src_dir_fd=source_fd, dst_dir_fd=source_fd)
        self._core.remove_leftover(source_fd, temporary)
