"""MKDIR, MKNOD, SYMLINK, LINK: new entries.

The kernel holds the directory's lock during each of these, so no two of them meet in one directory; another host's may (``--shared``).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from phonevault.fs import sidecars
from phonevault.fs.attributes import device_from_kernel
from phonevault.fs.core import Core
from phonevault.fs.creation import Owner, make_and_pin, make_directory, make_object
from phonevault.fs.nodes import Node, PathHandle
from phonevault.fs.permissions import NewObject
from phonevault.fuse import abi
from phonevault.fuse.request import Request


class TreeOperations:
    """Handlers over a :class:`Core`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def mkdir(self, request: Request) -> bytes:
        """MKDIR."""
        core = self._core
        mode, umask = abi.MKDIR_IN.unpack_from(request.body)
        parent = core.nodes.get(request.nodeid)
        name = abi.name_of(request.body[abi.MKDIR_IN.size :])
        owner = Owner.of(core, parent, request, stat.S_IFDIR | mode, umask)
        stored, fd, directory_id = make_directory(core, parent, name, owner)
        handle = PathHandle(fd)
        handle.directory_id = directory_id
        entry = core.entry(parent, stored, os.fstat(fd))
        core.nodes.keep_open(core.nodes.get(abi.ENTRY_OUT.unpack_from(entry)[0]), handle)
        return entry

    def mknod(self, request: Request) -> bytes:
        """MKNOD: regular files, fifos, sockets, devices."""
        mode, device, umask, _ = abi.MKNOD_IN.unpack_from(request.body)
        parent = self._core.nodes.get(request.nodeid)
        owner = Owner.of(self._core, parent, request, mode, umask)
        name = abi.name_of(request.body[abi.MKNOD_IN.size :])
        kind, number = stat.S_IFMT(mode), device_from_kernel(device)
        return self._made(
            parent, name, owner, lambda stored, fd: os.mknod(stored, kind | owner.mode, number, dir_fd=fd)
        )

    def symlink(self, request: Request) -> bytes:
        """SYMLINK."""
        name, target = abi.two_names_of(request.body)
        parent = self._core.nodes.get(request.nodeid)
        owner = Owner(request.uid, request.gid, NewObject(stat.S_IFLNK))
        with self._core.long_links.sealed(self._core.keys, target) as text:
            return self._made(parent, name, owner, lambda stored, fd: os.symlink(text, stored, dir_fd=fd))

    def link(self, request: Request) -> bytes:
        """LINK: another name for an object, or the first one of a file made without (O_TMPFILE)."""
        core = self._core
        (old,) = abi.LINK_IN.unpack_from(request.body)
        node, parent = core.nodes.get(old), core.nodes.get(request.nodeid)
        encoded = core.encoded(parent, abi.name_of(request.body[abi.LINK_IN.size :]))
        handle = core.nodes.directory(parent)
        with core.held(node) as fd, sidecars.named(handle.fd, encoded) as stored:
            core.moved_to(handle, stored)
            os.link(f"/proc/self/fd/{fd}", stored, dst_dir_fd=handle.fd, follow_symlinks=True)
        return core.entry(parent, stored, core.stat_entry(handle.fd, stored))

    def _made(self, parent: Node, name: bytes, owner: Owner, make: Callable[[str, int], None]) -> bytes:
        stored, fd = make_object(self._core, parent, name, owner, make_and_pin(make))
        try:
            return self._core.entry(parent, stored, self._core.stat_fd(fd))
        finally:
            os.close(fd)
