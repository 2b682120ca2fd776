"""One request of the kernel, and what a worker reuses from request to request."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


class FlushFirst(Exception):
    """Raised by a handler that needs the kernel's dirty pages of the node first; it is called again, without scratch memory."""


def untouched(size: int) -> memoryview:
    """Zeros that take no memory until they are written to, unlike those of a bytearray: most workers are seldom needed."""
    if size == 0:
        return memoryview(bytearray())
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


class Request:
    """A request while it is handled. Handlers must not keep it: a worker fills the same object again.

    Attributes:
        opcode: ``enum fuse_opcode``.
        unique: the kernel's number for it.
        nodeid: the node it is about.
        uid: user id of the caller (0 if the kernel acts on its own).
        gid: group id of the caller.
        pid: process id of the caller (0 for writeback).
        body: what follows ``fuse_in_header``.
        cipher: scratch memory for ciphertext, at least ``scratch_bytes`` long.
        plain: scratch memory for plaintext; a handler may return a slice of it.
        flushed: what the kernel held back of the node's data came home before.
    """

    __slots__ = ("body", "cipher", "flushed", "gid", "nodeid", "opcode", "pid", "plain", "uid", "unique")

    def __init__(self, scratch_bytes: int) -> None:
        self.opcode = 0
        self.unique = 0
        self.nodeid = 0
        self.uid = 0
        self.gid = 0
        self.pid = 0
        self.flushed = False
        self.body = memoryview(b"")
        self.cipher = untouched(scratch_bytes)
        self.plain = untouched(scratch_bytes)

    def wipe_body(self) -> None:
        """Overwrite what the kernel sent: plaintext, in a WRITE."""
        self.body[:] = bytes(len(self.body))

    def wipe_scratch(self) -> None:
        """Overwrite the scratch memory: plaintext of files may be left in it."""
        self.plain[:] = bytes(len(self.plain))


Handler = Callable[[Request], Any]
"""Returns the reply's body (bytes, or a list of buffers), or None where the kernel expects no reply. Raises OSError for an error reply."""


@dataclass(frozen=True)
class Operations:
    """What a file system offers to the session.

    Attributes:
        handlers: one handler an opcode; any other opcode answers ENOSYS.
        init_flags: the ``FUSE_INIT`` features that the file system wants.
        max_write: the largest WRITE it takes, in bytes.
        scratch_bytes: how much scratch memory a request needs.
        needs_no_keys: opcodes that are served in every state.
        keyless: whether a request of another opcode is served in every state, too.
        drains: opcodes that bring dirty data home and are served while a lock is under way.
        dirty_nodes: nodes whose data the kernel may hold back.
        known_nodes: every node the kernel may hold anything of.
        agreed: told the features that the kernel has agreed to, before the first request.
        take_back: told the opcode and the body of an answer that is not given, because a lock came first.
        scrub: overwrites what key use left on the calling thread's stack; each worker calls it after a lock.
    """

    handlers: dict[int, Handler]
    init_flags: int
    max_write: int
    scratch_bytes: int
    needs_no_keys: frozenset[int]
    keyless: Callable[[Request], bool]
    drains: frozenset[int]
    dirty_nodes: Callable[[], Sequence[int]]
    known_nodes: Callable[[], Sequence[int]]
    scrub: Callable[[], object]
    agreed: Callable[[int], object]
    take_back: Callable[[int, Any], object]
