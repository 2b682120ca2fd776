"""An encrypted tree driven through its handlers, without a kernel and without a mount: for what no program can be made to do at will."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from keyslots import labels
from keyslots.derive import derive
from keyslots.secret import Secret
from phonevault.fs.filesystem import EncryptedFileSystem
from phonevault.fs.format.dirid import FILE_NAME, new_directory_id, seal_directory_id
from phonevault.fs.format.xattrs import ACL_DEFAULT
from phonevault.fuse import abi
from phonevault.fuse.abi import Opcode
from phonevault.fuse.request import Request

VAULT_ID = bytes(16)
READDIR_BYTES = 4096


class DirectTree:
    """Names are bytes, directories are node numbers (1 is the root); the tree is made if it is not there."""

    def __init__(self, tree: Path, *, shared: bool = False, cipher: str = "aes-256-gcm") -> None:
        vmk = Secret.take(bytearray(range(32)))
        if not tree.exists():
            tree.mkdir()
            siv = AESSIV(derive(vmk, VAULT_ID, labels.NAMES).view)
            (tree / FILE_NAME).write_bytes(seal_directory_id(siv, new_directory_id()))
        umask = os.umask(0)
        self.filesystem = EncryptedFileSystem(
            tree, VAULT_ID, cipher, 4096 if "gcm" in cipher else 65536, shared=shared
        )
        os.umask(umask)
        self.filesystem.unlock(vmk)
        operations = self.filesystem.operations()
        self._handlers = operations.handlers
        self._scratch = operations.scratch_bytes
        self.uid, self.gid = os.geteuid(), os.getegid()

    def ask(self, opcode: Opcode, node: int, body: bytes) -> bytes:
        """The reply's body.

        Raises:
            OSError: the error that the kernel would be told.
        """
        request = Request(self._scratch)
        request.opcode, request.nodeid, request.body = opcode, node, memoryview(body)
        request.uid, request.gid = self.uid, self.gid
        umask = os.umask(0)
        try:
            reply = self._handlers[opcode](request)
        finally:
            os.umask(umask)
        return b"".join(reply) if isinstance(reply, list) else bytes(reply or b"")

    def find(self, name: bytes, parent: int = 1) -> int:
        """LOOKUP; 0 if there is no such name."""
        return self.number(self.ask(Opcode.LOOKUP, parent, name + b"\0"))

    @staticmethod
    def number(entry: bytes) -> int:
        return int(abi.ENTRY_OUT.unpack_from(entry)[0])

    def status(self, node: int) -> tuple[int, ...]:
        """``fuse_attr``: ino, size, blocks, atime, mtime, ctime, their nanoseconds, mode, nlink, uid, gid, …"""
        return abi.ATTR.unpack_from(self.ask(Opcode.GETATTR, node, bytes(16))[16:])

    # -- making -------------------------------------------------------------------------------------------

    def create(self, name: bytes, mode: int = 0o600, parent: int = 1) -> int:
        """An empty file, closed again."""
        body = abi.CREATE_IN.pack(os.O_RDWR | os.O_CREAT, stat.S_IFREG | mode, 0, 0) + name + b"\0"
        number = self.number(self.ask(Opcode.CREATE, parent, body))
        self.ask(Opcode.RELEASE, number, bytes(abi.RELEASE_IN.size))
        return number

    def mkdir(self, name: bytes, mode: int = 0o700, parent: int = 1) -> int:
        return self.number(self.ask(Opcode.MKDIR, parent, abi.MKDIR_IN.pack(mode, 0) + name + b"\0"))

    def mknod(self, name: bytes, mode: int, parent: int = 1) -> int:
        return self.number(self.ask(Opcode.MKNOD, parent, abi.MKNOD_IN.pack(mode, 0, 0, 0) + name + b"\0"))

    def symlink(self, name: bytes, target: bytes, parent: int = 1) -> int:
        return self.number(self.ask(Opcode.SYMLINK, parent, name + b"\0" + target + b"\0"))

    def link(self, old: int, name: bytes, parent: int = 1) -> int:
        return self.number(self.ask(Opcode.LINK, parent, abi.LINK_IN.pack(old) + name + b"\0"))

    def set_default_list(self, raw: bytes, node: int = 1) -> None:
        """SETXATTR of system.posix_acl_default."""
        head = abi.SETXATTR_IN_SHORT.pack(len(raw), 0)
        self.ask(Opcode.SETXATTR, node, head + ACL_DEFAULT + b"\0" + raw)

    # -- removing, renaming -------------------------------------------------------------------------------

    def unlink(self, name: bytes, parent: int = 1) -> None:
        self.ask(Opcode.UNLINK, parent, name + b"\0")

    def rmdir(self, name: bytes, parent: int = 1) -> None:
        self.ask(Opcode.RMDIR, parent, name + b"\0")

    def rename(self, old: bytes, new: bytes, flags: int = 0, source: int = 1, target: int = 1) -> None:
        self.ask(Opcode.RENAME2, source, abi.RENAME2_IN.pack(target, flags, 0) + old + b"\0" + new + b"\0")

    # -- looking ------------------------------------------------------------------------------------------

    def opendir(self, node: int = 1) -> int:
        """A handle; where directories need no opening, what the kernel sends instead."""
        try:
            return int(abi.OPEN_OUT.unpack(self.ask(Opcode.OPENDIR, node, bytes(8)))[0])
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            return 0

    def read_once(
        self, handle: int, position: int, node: int = 1, *, plus: bool = False
    ) -> list[tuple[bytes, int, int]]:
        """One READDIR or READDIRPLUS: name, position and inode of each entry."""
        body = abi.READ_IN.pack(handle, position, READDIR_BYTES, 0, 0, 0, 0)
        reply = self.ask(Opcode.READDIRPLUS if plus else Opcode.READDIR, node, body)
        return [(name, offset, inode) for name, offset, inode, _ in self._entries(reply, plus=plus)]

    def told_by_listing(self, node: int = 1) -> dict[bytes, int]:
        """READDIRPLUS from the beginning: the number told of each name; 0: nothing was told of it but the name."""
        return self.told_behind(0, node)[0]

    def told_behind(self, position: int, node: int = 1) -> tuple[dict[bytes, int], int]:
        """The same of one READDIRPLUS behind a position, and the next position; 0 at the end."""
        body = abi.READ_IN.pack(self.opendir(node), position, READDIR_BYTES, 0, 0, 0, 0)
        entries = list(self._entries(self.ask(Opcode.READDIRPLUS, node, body), plus=True))
        told = {name: number for name, _, _, number in entries if name not in (b".", b"..")}
        return told, entries[-1][1] if entries else 0

    def _entries(self, reply: bytes, *, plus: bool) -> Iterator[tuple[bytes, int, int, int]]:
        """Name, position, inode and, with ``plus``, the number told of each entry."""
        place = 0
        while place < len(reply):
            number = self.number(reply[place:]) if plus else 0
            place += abi.ENTRY_OUT_BYTES if plus else 0
            inode, offset, length, _ = abi.DIRENT.unpack_from(reply, place)
            place += abi.DIRENT.size
            yield reply[place : place + length], offset, inode, number
            place += length + 7 & ~7

    def listing(self, node: int = 1) -> list[bytes]:
        """Every name but "." and ".."."""
        handle, position, found = self.opendir(node), 0, []
        while part := self.read_once(handle, position, node):
            found += [name for name, _, _ in part if name not in (b".", b"..")]
            position = part[-1][1]
        self.ask(Opcode.RELEASEDIR, node, abi.RELEASE_IN.pack(handle, 0, 0, 0))
        return found

    def view(self, node: int = 1, above: bytes = b"") -> dict[bytes, tuple[int, ...]]:
        """Path to mode, number of links, length of a link's target and number of attributes, of everything."""
        seen: dict[bytes, tuple[int, ...]] = {}
        for name in self.listing(node):
            number = self.find(name, node)
            assert number, f"{name!r} is listed and not found"
            mode, links = self.status(number)[9:11]
            path = above + b"/" + name
            length = len(self.ask(Opcode.READLINK, number, b"")) if stat.S_ISLNK(mode) else 0
            attributes = self.ask(Opcode.LISTXATTR, number, abi.GETXATTR_IN.pack(65_536, 0))
            rest = (length, attributes.count(b"\0"))
            seen[path] = (mode, *rest) if stat.S_ISDIR(mode) else (mode, links, *rest)
            if stat.S_ISDIR(mode):
                seen |= self.view(number, path)
        return seen
