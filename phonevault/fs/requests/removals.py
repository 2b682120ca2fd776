"""UNLINK and RMDIR."""

from __future__ import annotations

import os

from phonevault.fs import sidecars
from phonevault.fs.core import Core
from phonevault.fs.nodes import pinned
from phonevault.fs.removal import without_id
from phonevault.fuse import abi
from phonevault.fuse.request import Request


class RemovalOperations:
    """Handlers over a :class:`Core`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def unlink(self, request: Request) -> bytes:
        """UNLINK."""
        core = self._core
        parent = core.nodes.get(request.nodeid)
        stored = core.stored(parent, abi.name_of(request.body))
        handle = core.nodes.directory(parent)
        pin = pinned(handle.fd, stored)
        status = os.fstat(pin.fd)
        os.unlink(stored, dir_fd=handle.fd)
        sidecars.drop(handle.fd, stored)
        core.unlinked(pin, status, parent, stored, last=status.st_nlink <= 1)
        return b""

    def rmdir(self, request: Request) -> bytes:
        """RMDIR."""
        core = self._core
        parent = core.nodes.get(request.nodeid)
        stored = core.stored(parent, abi.name_of(request.body))
        handle = core.nodes.directory(parent)
        pin = pinned(handle.fd, stored)
        status = os.fstat(pin.fd)
        try:
            with without_id(handle.fd, stored):
                os.rmdir(stored, dir_fd=handle.fd)
        except OSError:
            core.forget_directory_id(status)
            raise
        sidecars.drop(handle.fd, stored)
        core.unlinked(pin, status, parent, stored, last=True)
        return b""
