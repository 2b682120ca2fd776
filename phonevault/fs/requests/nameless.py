"""TMPFILE: a regular file without a name (O_TMPFILE), which LINK may give one later."""

from __future__ import annotations

import os
import stat

from phonevault.fs import attributes
from phonevault.fs.core import Core
from phonevault.fs.creation import Owner, furnish
from phonevault.fs.nodes import PathHandle
from phonevault.fs.requests.files import FileOperations
from phonevault.fuse import abi
from phonevault.fuse.request import Request


class NamelessOperations:
    """Handlers over a :class:`Core`."""

    def __init__(self, core: Core, files: FileOperations) -> None:
        self._core = core
        self._files = files

    def tmpfile(self, request: Request) -> list[bytes]:
        """TMPFILE: made by the backing store, which frees it with the last handle, whatever happens to us.

        Raises:
            OSError: EOPNOTSUPP where the backing store has no such files.
        """
        core = self._core
        flags, mode, umask, _ = abi.CREATE_IN.unpack_from(request.body)
        parent = core.nodes.get(request.nodeid)
        directory = core.nodes.directory(parent)
        ours = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC | flags & os.O_EXCL
        owner = Owner.of(core, parent, request, stat.S_IFREG | mode, umask)
        fd = os.open(".", ours, owner.mode, dir_fd=directory.fd)
        try:
            furnish(core, fd, owner, directory.fd)
            pin = PathHandle(os.open(f"/proc/self/fd/{fd}", os.O_PATH | os.O_CLOEXEC))
        except OSError:
            os.close(fd)
            raise
        status = os.fstat(fd)
        node = core.nodes.remember_nameless(pin, status)
        entry = attributes.entry_out(node.id, core.timeout_s, attributes.pack(status, core.layout))
        return [entry, self._files.opened_new(node, fd, flags)]
