"""The node table: what the kernel knows by number, and where it lies in the ciphertext directory.

A node is found by a directory descriptor and a stored name, never by a path. It holds no plaintext name.
Most of the daemon's memory is here once the kernel knows many objects: so nodes are packed, and only forgotten directories are held weakly.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import stat
import threading
from collections import OrderedDict
from collections.abc import Sequence
from weakref import WeakValueDictionary

from phonevault.fs.contents.sparse_file import SparseFile
from phonevault.fuse import abi

_DIRECTORY_DESCRIPTORS = 512
_TABLE_DESCRIPTORS = 1024
_PIN_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH_FLAGS = _PIN_FLAGS | os.O_DIRECTORY
_KINDS = [kind << 12 for kind in range(16)]
"""One integer object for each type, not one a node."""
_INODE_BITS = 64
_KIND = 0o170000


class PathHandle:
    """An open descriptor, usually O_PATH; closed when the last user lets go of it, so that eviction harms no request under way.

    Attributes:
        fd: the descriptor.
        directory_id: of a directory, once read. It is known no longer than the handle lasts: that long, no other directory can have
            the inode number.
        asked: of a directory, whether an entry was looked up since it was listed from its beginning.
    """

    __slots__ = ("asked", "directory_id", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.directory_id: bytes | None = None
        self.asked = False

    def __del__(self) -> None:
        os.close(self.fd)


def pinned(directory_fd: int, stored: str) -> PathHandle:
    """A handle of an entry of any kind; while it lives, the inode number is not given to a new object."""
    return PathHandle(os.open(stored, _PIN_FLAGS, dir_fd=directory_fd))


def _widen_descriptor_table(fd: int) -> None:
    """Make room for as many descriptors as a busy mount has, before there are threads.

    The kernel lets a process with threads wait some 10 ms (``synchronize_rcu``) whenever its table has to grow, from 64 descriptors on,
    each time in the middle of a request. The table does not shrink.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _TABLE_DESCRIPTORS if soft == resource.RLIM_INFINITY else min(_TABLE_DESCRIPTORS, soft)
    with contextlib.suppress(OSError):  # it only saves time
        os.close(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, most - 1))


def key_of(status: os.stat_result) -> int:
    """Device and inode number of an object in one integer, as in :attr:`Node.key`."""
    return status.st_dev << _INODE_BITS | status.st_ino


class Node:
    """One file, directory or other object of the tree.

    Attributes:
        id: the kernel's number for it; never used again.
        key: device and inode of the ciphertext object.
        mode: its type bits (``stat.S_IFMT``).
        lookups: how often the kernel was told of it and has not forgotten it.
        parent: the directory that it is in; None for the root, and once it is unlinked.
        stored: its name there.
        others: parents and stored names of its other hard links.
        handle: of a directory while it is in use; of any object without a known name.
        contents: of a regular file while it is open.
        backing: the descriptor that ``contents`` works on.
        opens: open handles.
        writers: it may have dirty data in the kernel's cache.
        incapable: it is known to have no file capability (`security.capability`).
        told: the kernel was told of it under the name that it has now, with its attributes, and has asked nothing of it since: so it
            still knows both.
        mtime_ns: of a file open for writing, the time of modification that the kernel goes by; None where it is not known.
    """

    __slots__ = (
        "__weakref__", "backing", "contents", "handle", "id", "incapable", "key", "lookups", "mode", "mtime_ns", "opens", "others",
        "parent", "stored", "told", "writable", "writers",
    )  # fmt: skip

    def __init__(self, number: int, key: int, mode: int) -> None:
        self.id = number
        self.key = key
        self.mode = _KINDS[stat.S_IFMT(mode) >> 12]
        self.lookups = 0
        self.parent: Node | None = None
        self.stored = ""
        self.others: tuple[tuple[Node, str], ...] = ()
        self.handle: PathHandle | None = None
        self.contents: SparseFile | None = None
        self.backing: PathHandle | None = None
        self.opens = 0
        self.writable = False
        self.writers = False
        self.incapable = False
        self.told = False
        self.mtime_ns: int | None = None

    @property
    def inode(self) -> int:
        """Inode number of the ciphertext object."""
        return self.key & (1 << _INODE_BITS) - 1

    @property
    def links(self) -> tuple[tuple[Node, str], ...]:
        """Where it is: parent and stored name, several for hard links, none once unlinked."""
        return () if self.parent is None else ((self.parent, self.stored), *self.others)

    @links.setter
    def links(self, places: Sequence[tuple[Node, str]]) -> None:
        self.parent, self.stored = places[0] if places else (None, "")
        self.others = tuple(places[1:])


class NodeTable:
    """All living nodes.

    Args:
        root: the ciphertext of the root directory.
    """

    def __init__(self, root: os.PathLike[str]) -> None:
        self.lock = threading.RLock()
        fd = os.open(root, _PATH_FLAGS)
        _widen_descriptor_table(fd)
        status = os.fstat(fd)
        self.root = Node(abi.ROOT_ID, key_of(status), status.st_mode)
        self.root.handle = PathHandle(fd)
        self.root.lookups = 1
        self._next = abi.ROOT_ID + 1
        self._by_id: dict[int, Node] = {abi.ROOT_ID: self.root}
        self._by_key: dict[int, Node] = {self.root.key: self.root}
        # Forgotten, but perhaps still the parents of nodes that are not: workers take FORGETs in any order.
        self._forgotten_directories: WeakValueDictionary[int, Node] = WeakValueDictionary()
        self._open_directories: OrderedDict[int, Node] = OrderedDict()

    def get(self, number: int) -> Node:
        """The node of that number.

        Raises:
            OSError: ESTALE, it was forgotten.
        """
        node = self._by_id.get(number)
        if node is None:
            raise OSError(errno.ESTALE, "unknown node")
        node.told = False  # whatever is done with it may change its attributes
        return node

    def is_told(self, parent: Node, stored: str, inode: int) -> bool:
        """Whether the kernel knows that entry and its attributes.

        A file system mounted in the ciphertext, or a kernel short of memory, makes the answer wrong: that costs a look-up, no more.
        """
        node = self._by_key.get(parent.key >> _INODE_BITS << _INODE_BITS | inode)
        return node is not None and node.told and node.parent is parent and node.stored == stored

    def tell_again(self) -> None:
        """The kernel is made to forget what it knows."""
        for node in self.all_nodes():
            node.told = False

    def all_nodes(self) -> list[Node]:
        """Every node the kernel knows."""
        with self.lock:
            return list(self._by_id.values())

    def numbers(self) -> Sequence[int]:
        """The numbers of every node the kernel knows."""
        with self.lock:
            return list(self._by_id)

    def remember(self, parent: Node, stored: str, status: os.stat_result) -> Node:
        """The kernel is told of an object: count it, and note where it is."""
        with self.lock:
            node = self._told(status)
            if node.parent is not parent or node.stored != stored:
                if stat.S_ISDIR(node.mode):
                    node.others = ()
                else:
                    node.handle = None
                    if node.parent is not None:  # most are new
                        node.others = tuple(place for place in node.links if place != (parent, stored))
                # First: where it was seen last is where it is, whatever another host has renamed.
                node.parent, node.stored = parent, stored
            node.told = True
            return node

    def remember_nameless(self, pin: PathHandle, status: os.stat_result) -> Node:
        """The kernel is told of an object that has no name yet; it is found through ``pin`` until it has one."""
        with self.lock:
            node = self._told(status)
            node.handle = pin
            return node

    def _told(self, status: os.stat_result) -> Node:
        key, mode = status.st_dev << _INODE_BITS | status.st_ino, status.st_mode & _KIND
        node = self._by_key.get(key)
        if node is None or node.mode != mode:
            if node is None and mode == stat.S_IFDIR:
                node = self._forgotten_directories.pop(key, None)
            if node is None or node.mode != mode:
                node = Node(self._next, key, mode)
                self._next += 1
            self._by_key[key] = self._by_id[node.id] = node
        node.lookups += 1
        return node

    def forget(self, number: int, count: int) -> None:
        """The kernel forgets ``count`` look-ups of a node."""
        with self.lock:
            node = self._by_id.get(number)
            if node is None or node is self.root:
                return
            node.lookups -= count
            if node.lookups <= 0 and node.opens == 0:
                del self._by_id[number]
                self._open_directories.pop(number, None)
                node.handle = None
                if self._by_key.get(node.key) is node:
                    del self._by_key[node.key]
                    if stat.S_ISDIR(node.mode):
                        self._forgotten_directories[node.key] = node

    def find(self, status: os.stat_result) -> Node | None:
        """The living node of a ciphertext object, if there is one."""
        key = key_of(status)
        return self._by_key.get(key) or self._forgotten_directories.get(key)

    def unlinked(
        self, pin: PathHandle, status: os.stat_result, parent: Node, stored: str, *, last: bool
    ) -> None:
        """A name is gone; with ``last`` it was the only one.

        ``pin`` was opened before, so that until here no new object could have the inode number; ``status`` was asked through it. With the
        last name that is known gone it stays with the node: a program that holds the object still asks for it, until the kernel forgets it.
        """
        with self.lock:
            node = self.find(status)
            if node is None:
                return
            if not node.others and node.parent is parent and node.stored == stored:  # most have one name
                node.parent, node.stored = None, ""
            else:
                node.links = [place for place in node.links if place != (parent, stored)]
            node.told = False
            if last:
                self._by_key.pop(node.key, None)
                if stat.S_ISDIR(node.mode):
                    self._forgotten_directories.pop(node.key, None)
            if node.parent is None and node.id in self._by_id:
                self._open_directories.pop(node.id, None)
                node.handle = pin

    def moved(self, status: os.stat_result, source: tuple[Node, str], target: tuple[Node, str]) -> None:
        """An object has another place."""
        with self.lock:
            node = self.find(status)
            if node is not None:
                node.links = [target if place == source else place for place in node.links]
                node.told = False

    def replaced(self, before: os.stat_result, after: os.stat_result) -> None:
        """Another object took an object's place, and is the same to the kernel (a link that was sealed anew)."""
        with self.lock:
            node = self._by_key.pop(key_of(before), None)
            if node is not None:
                node.key = key_of(after)
                node.told = False
                self._by_key[node.key] = node

    def misplaced(self, node: Node, place: tuple[Node, str]) -> bool:
        """A node is not where it was; True if it may be elsewhere."""
        with self.lock:
            if not node.others or place not in node.links:
                return False
            node.links = [other for other in node.links if other != place]
            node.told = False
            return True

    def directory(self, node: Node) -> PathHandle:
        """An O_PATH descriptor of a directory; hold the handle while using its ``fd``.

        Raises:
            OSError: ENOENT, ESTALE if the directory is gone.
        """
        handle = node.handle
        if handle is not None:
            return handle
        with self.lock:
            # Up to the first ancestor that is open, then down: a tree may be deeper than Python calls itself.
            closed: dict[int, tuple[Node, str]] = {}
            while (handle := node.handle) is None:
                if node.id in closed:
                    raise OSError(errno.ESTALE, "another host has moved the directory")
                above, stored = self.place(node)
                closed[node.id] = node, stored
                node = above
            for below, stored in reversed(closed.values()):
                handle = self._open(below, stored, handle)
            return handle

    def _open(self, node: Node, stored: str, above: PathHandle) -> PathHandle:
        handle = PathHandle(os.open(stored, _PATH_FLAGS, dir_fd=above.fd))
        status = os.fstat(handle.fd)
        if key_of(status) != node.key:
            raise OSError(errno.ESTALE, "another directory is in its place")
        self.keep_open(node, handle)
        return handle

    def keep_open(self, node: Node, handle: PathHandle) -> None:
        """Keep a directory's handle until many others were opened after it."""
        with self.lock:
            node.handle = handle
            self._open_directories[node.id] = node
            if len(self._open_directories) > _DIRECTORY_DESCRIPTORS:
                _, oldest = self._open_directories.popitem(last=False)
                oldest.handle = None

    def place(self, node: Node) -> tuple[Node, str]:
        """Parent and stored name of a node.

        Raises:
            OSError: ESTALE, it has no name any more.
        """
        with self.lock:
            if node.parent is None:
                raise OSError(errno.ESTALE, "the object has no name any more")
            return node.parent, node.stored
