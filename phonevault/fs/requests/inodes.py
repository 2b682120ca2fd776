"""LOOKUP, FORGET, GETATTR, SETATTR, READLINK, STATFS: what the kernel asks about one object."""

from __future__ import annotations

import os
import stat
import time

from phonevault.fs import attributes, mtimes
from phonevault.fs.core import Core
from phonevault.fs.format.links import is_long
from phonevault.fs.nodes import Node
from phonevault.fs.requests.files import FileOperations, kill_suidgid
from phonevault.fs.xattr_store import Ciphertext, path_of
from phonevault.fuse import abi
from phonevault.fuse.abi import SetAttr
from phonevault.fuse.request import Request

_BILLION = 1_000_000_000
_TOLD_TIMES = SetAttr.MTIME | SetAttr.CTIME


class InodeOperations:
    """Handlers over a :class:`Core`."""

    def __init__(self, core: Core, files: FileOperations) -> None:
        self._core = core
        self._files = files

    def lookup(self, request: Request) -> bytes:
        """LOOKUP: find a name in a directory."""
        core = self._core
        parent = core.nodes.get(request.nodeid)
        stored = core.stored(parent, abi.name_of(request.body))
        handle = core.nodes.directory(parent)
        handle.asked = True
        try:
            status = core.stat_entry(handle.fd, stored)
        except FileNotFoundError:
            if core.shared:
                raise
            return attributes.negative_entry(core.timeout_s)
        return core.entry(parent, stored, status)

    def forget(self, request: Request) -> None:
        """FORGET: no reply."""
        self._core.nodes.forget(request.nodeid, abi.FORGET_IN.unpack_from(request.body)[0])

    def batch_forget(self, request: Request) -> None:
        """BATCH_FORGET: no reply."""
        count, _ = abi.BATCH_FORGET_IN.unpack_from(request.body)
        size = abi.FORGET_ONE.size
        items = request.body[abi.BATCH_FORGET_IN.size :][: count * size]
        for node, lookups in abi.FORGET_ONE.iter_unpack(items):
            self._core.nodes.forget(node, lookups)

    def getattr(self, request: Request) -> bytes:
        """GETATTR."""
        return self._attributes(self._core.nodes.get(request.nodeid))

    def setattr(self, request: Request) -> bytes:
        """SETATTR: size, then owner, mode and times, so that the later ones survive what the former change."""
        fields = abi.SETATTR_IN.unpack_from(request.body)
        node = self._core.nodes.get(request.nodeid)
        if node.parent is None and not node.opens and _tells_times(fields[0]):
            status = self._core.stat_node(node)
            if not status.st_nlink:
                # The kernel tells the time at which it removed an object that nobody has open any more.
                return attributes.attr_out(self._core.timeout_s, attributes.pack(status, self._core.layout))
        if fields[0] & SetAttr.SIZE:
            self._files.truncate(node, fields[3], request)
        backing = node.backing
        if backing is not None:  # open, so by its descriptor: a way through /proc takes three times as long
            self._set(node, backing.fd, backing.fd, fields)
        else:
            with self._core.held(node) as fd:
                self._set(node, fd, path_of(fd), fields)
        return self._attributes(node)

    def _set(self, node: Node, fd: int, ciphertext: Ciphertext, fields: tuple[int, ...]) -> None:
        """All but the size. ``ciphertext`` is what ``fd`` leads to."""
        valid, mode, uid, gid = fields[0], fields[11], fields[13], fields[14]
        if valid & (SetAttr.UID | SetAttr.GID):
            os.chown(ciphertext, uid if valid & SetAttr.UID else -1, gid if valid & SetAttr.GID else -1)
            if stat.S_ISREG(node.mode):
                self._core.drop_capability(node, ciphertext)
        if valid & SetAttr.MODE:
            self._core.permissions.chmod(ciphertext, node.mode, mode)
        elif valid & SetAttr.KILL_SUIDGID:
            kill_suidgid(ciphertext)
        if valid & (SetAttr.ATIME | SetAttr.MTIME):
            mtimes.told(
                self._core,
                node,
                lambda: _set_times(ciphertext, os.fstat(fd), valid, fields),
                counts=bool(valid & SetAttr.MTIME),
            )

    def readlink(self, request: Request) -> bytes:
        """READLINK."""
        core = self._core
        node = core.nodes.get(request.nodeid)
        with core.held(node) as fd:
            text = os.readlink("", dir_fd=fd)
        return core.long_links.read(core.keys, node, text) if is_long(text) else core.keys.open_target(text)

    def statfs(self, request: Request) -> bytes:
        """STATFS: those of the backing store."""
        del request
        info = os.statvfs(self._core.tree)
        return abi.STATFS_OUT.pack(
            info.f_blocks,
            info.f_bfree,
            info.f_bavail,
            info.f_files,
            info.f_ffree,
            info.f_bsize,
            255,
            info.f_frsize,
            0,
        )

    def _attributes(self, node: Node) -> bytes:
        core = self._core
        return attributes.attr_out(core.timeout_s, attributes.pack(core.stat_node(node), core.layout))


def only_times(request: Request) -> bool:
    """Whether a request is the SETATTR by which the kernel tells the times of what was written: it needs no key."""
    return request.opcode == abi.Opcode.SETATTR and _tells_times(abi.SETATTR_IN.unpack_from(request.body)[0])


def _tells_times(valid: int) -> bool:
    return valid & ~SetAttr.FH == _TOLD_TIMES


def _set_times(ciphertext: Ciphertext, status: os.stat_result, valid: int, fields: tuple[int, ...]) -> int:
    """Set what is asked for, and return the time of modification; the other time stays as it is in ``status``."""
    now = time.time_ns()
    atime = _time(valid, SetAttr.ATIME, SetAttr.ATIME_NOW, fields[5], fields[8], now)
    mtime = _time(valid, SetAttr.MTIME, SetAttr.MTIME_NOW, fields[6], fields[9], now)
    times = (
        status.st_atime_ns if atime is None else atime,
        status.st_mtime_ns if mtime is None else mtime,
    )
    os.utime(ciphertext, ns=times)
    return times[1]


def _time(valid: int, given: int, is_now: int, seconds: int, nanoseconds: int, now: int) -> int | None:
    if not valid & given:
        return None
    if valid & is_now:
        return now
    return (seconds - (1 << 64) if seconds >> 63 else seconds) * _BILLION + nanoseconds
