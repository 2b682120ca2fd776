"""GETXATTR, SETXATTR, LISTXATTR, REMOVEXATTR: extended attributes, access control lists among them.

The kernel has checked the caller's right before it asks; which names there are at all is for a file system to say.
"""

from __future__ import annotations

import errno

from phonevault.fs.core import Core
from phonevault.fs.format.xattrs import ACL_ACCESS, ACL_DEFAULT, CAPABILITY
from phonevault.fs.xattr_store import path_of
from phonevault.fuse import abi
from phonevault.fuse.request import Request

_PREFIXES = (b"user.", b"trusted.", b"security.")
_TRUSTED = b"trusted."
_LISTS = (ACL_ACCESS, ACL_DEFAULT)


class XattrOperations:
    """Handlers over a :class:`Core`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._has_flags = False

    def agreed(self, features: int) -> None:
        """Whether the kernel sends the long ``fuse_setxattr_in``."""
        self._has_flags = bool(features & abi.Init.SETXATTR_EXT)

    def getxattr(self, request: Request) -> bytes | memoryview:
        """GETXATTR."""
        size, _ = abi.GETXATTR_IN.unpack_from(request.body)
        name = abi.name_of(request.body[abi.GETXATTR_IN.size :])
        _check(name)
        node = self._core.nodes.get(request.nodeid)
        if name == CAPABILITY and node.incapable:
            # The kernel asks before the first write and at each change of owner.
            raise OSError(errno.ENODATA, "no file capability")
        with self._core.held(node) as fd:
            return _answer(self._core.xattrs.get(path_of(fd), node.mode, name, request.plain), size)

    def listxattr(self, request: Request) -> bytes | memoryview:
        """LISTXATTR; trusted attributes are for root alone."""
        size, _ = abi.GETXATTR_IN.unpack_from(request.body)
        node = self._core.nodes.get(request.nodeid)
        with self._core.held(node) as fd:
            names = self._core.xattrs.names(path_of(fd), node.mode)
        shown = (name + b"\0" for name in names if request.uid == 0 or not name.startswith(_TRUSTED))
        return _answer(b"".join(shown), size)

    def setxattr(self, request: Request) -> bytes:
        """SETXATTR."""
        head = abi.SETXATTR_IN if self._has_flags else abi.SETXATTR_IN_SHORT
        size, flags, *more = head.unpack_from(request.body)
        border = len(request.body) - size
        # What name_of is given it copies to the heap: nothing of the value.
        name, value = abi.name_of(request.body[head.size : border]), request.body[border:]
        if head.size + len(name) + 1 != border:
            raise OSError(errno.EIO, "the request is cut short")
        _check(name)
        node = self._core.nodes.get(request.nodeid)
        with self._core.held(node) as fd:
            if name in _LISTS:
                kill = bool(more[0] & abi.SETXATTR_ACL_KILL_SGID) if more else request.uid != 0
                self._core.permissions.set_list(path_of(fd), node, name, bytes(value), kill_sgid=kill)
            else:
                self._core.xattrs.set(path_of(fd), node.mode, name, value, flags)
                node.incapable &= name != CAPABILITY
        return b""

    def removexattr(self, request: Request) -> bytes:
        """REMOVEXATTR."""
        name = abi.name_of(request.body)
        _check(name)
        node = self._core.nodes.get(request.nodeid)
        with self._core.held(node) as fd:
            if name in _LISTS:
                self._core.permissions.remove_list(path_of(fd), node, name)
            else:
                self._core.xattrs.remove(path_of(fd), node.mode, name)
        return b""


def _answer(value: bytes | memoryview, size: int) -> bytes | memoryview:
    """A value or list for a caller with room for ``size`` bytes, or its length if ``size`` is 0."""
    if size == 0:
        return abi.GETXATTR_OUT.pack(len(value), 0)
    if len(value) > size:
        raise OSError(errno.ERANGE, "the caller's buffer is too small")
    return value


def _check(name: bytes) -> None:
    """The name spaces of Linux's own file systems.

    Raises:
        OSError: EOPNOTSUPP, EINVAL for a prefix alone.
    """
    if name in _PREFIXES:
        raise OSError(errno.EINVAL, "an attribute has to have a name")
    if not name.startswith(_PREFIXES) and name not in _LISTS:
        raise OSError(errno.EOPNOTSUPP, "no such name space of attributes here")
