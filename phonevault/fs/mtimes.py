"""The time of modification of a file open for writing, which is the kernel's to say.

With its writeback cache the kernel sets the time at write(2) and tells us by SETATTR, but only where it is another one than before. Its
WRITE requests come later, and move the ciphertext file's own time. So what the kernel goes by is remembered, and put back.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from phonevault.fs.core import Core
from phonevault.fs.nodes import Node

NEAR_NS = 1_000_000_000
"""How far apart the times may be where a later one of the kernel's may still be on its way."""


def begin(core: Core, node: Node) -> None:
    """A file is opened for writing: until now both times are the same. Where others write too, the kernel keeps no time of its own."""
    if core.kernel_keeps_times and node.mtime_ns is None and node.backing is not None:
        node.mtime_ns = os.fstat(node.backing.fd).st_mtime_ns


def told(core: Core, node: Node, set_times: Callable[[], int], *, counts: bool) -> None:
    """The kernel sets times: under the lock, so that no RELEASE puts the one before back in between.

    Args:
        core: the file's tree.
        node: the file.
        set_times: sets the ciphertext file's, and returns the time of modification.
        counts: that time is among those that the kernel sets.

    Raises:
        OSError: what ``set_times`` raises.
    """
    with core.nodes.lock:
        try:
            mtime_ns = set_times()
        except OSError:
            node.mtime_ns = None
            raise
        if counts and node.mtime_ns is not None:
            node.mtime_ns = mtime_ns


def restore(core: Core, node: Node, *, at_most_ns: int | None = None) -> None:
    """Put the kernel's time back, after its dirty data and a time that it changed came home (FSYNC, the last RELEASE).

    Args:
        core: the file's tree.
        node: the file.
        at_most_ns: leave a difference alone that is larger.
    """
    # A backing store that refuses (a file of another owner) keeps its own time, as it does without us.
    with core.nodes.lock, contextlib.suppress(OSError):
        wanted, backing = node.mtime_ns, node.backing
        if wanted is None or backing is None:
            return
        status = os.fstat(backing.fd)
        moved = abs(status.st_mtime_ns - wanted)
        if moved and (at_most_ns is None or moved <= at_most_ns):
            os.utime(backing.fd, ns=(status.st_atime_ns, wanted))


def restore_missed(core: Core) -> None:
    """The mount is gone: the kernel throws away RELEASE requests that were not read yet.

    If it was cut off instead, it may have had a later time that it never told. That one lies further off than a lost
    RELEASE does, and the file keeps the later time of its last WRITE.
    """
    for node in core.nodes.all_nodes():
        restore(core, node, at_most_ns=NEAR_NS)
