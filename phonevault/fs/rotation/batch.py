"""Changes of a rotation of contents that are made together: logged durably, made, brought home, and then the log counts no more."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field

from phonevault.fs.format.rotation import NO_ID, Border, Bytes, Part
from phonevault.fs.rotation.store import RotationStore
from phonevault.fs.rotation.undo import put_back, restore_status, write_at
from phonevault.fs.syscalls import syncfs

BATCH_BYTES = 16 << 20
"""Ciphertext that is changed together: so long the requests of a file may have to wait."""
BATCH_OBJECTS = 256
_FEW = 4


@dataclass
class Change:
    """One file about to be changed.

    Attributes:
        fd: open for reading and writing.
        part: what it is before.
        new: offsets, and the bytes to write there.
        border: how far it is afterwards, if it is not whole by then.
    """

    fd: int
    part: Part
    new: list[tuple[int, Bytes]] = field(default_factory=list)
    border: Border | None = None

    @property
    def weight(self) -> int:
        """Bytes to write."""
        return sum(len(data) for _, data in self.new)


class Batch:
    """Changes, gathered and then made.

    Args:
        store: where the undo log is.
        tree_fd: open on the tree, for reading.

    Attributes:
        changes: those that wait.
    """

    def __init__(self, store: RotationStore, tree_fd: int) -> None:
        self._store = store
        self._tree_fd = tree_fd
        self.changes: list[Change] = []
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self.changes)

    def add(self, change: Change) -> None:
        """Nothing is changed before :meth:`commit`."""
        self.changes.append(change)
        self._bytes += change.weight

    @property
    def full(self) -> bool:
        """Whether it is time to commit."""
        return self._bytes >= BATCH_BYTES or len(self.changes) >= BATCH_OBJECTS

    def commit(self) -> None:
        """Make the changes; durable when this returns.

        Raises:
            OSError: of the backing store. What was there before is there again, or the log keeps it for the next one to come.
        """
        changes, self.changes, self._bytes = self.changes, [], 0
        if not changes:
            return
        self._store.log.write([change.part for change in changes])
        try:
            for change in changes:
                self._make(change)
            self._bring_home(changes)
        except OSError:
            self._take_back(changes)
            raise
        self._store.log.clear()

    def drop(self) -> None:
        """Forget what was gathered: nothing of it was changed."""
        self.changes, self._bytes = [], 0

    def _make(self, change: Change) -> None:
        for offset, data in change.new:
            write_at(change.fd, data, offset)
        restore_status(change.fd, change.part)
        if change.border is not None:
            self._store.put_border(change.border)
        elif change.part.border_id != NO_ID:
            self._store.restore_border(change.part.border_id, b"")

    def _bring_home(self, changes: list[Change]) -> None:
        if len(changes) > _FEW:
            syncfs(self._tree_fd)
            return
        for change in changes:
            os.fsync(change.fd)

    def _take_back(self, changes: list[Change]) -> None:
        with contextlib.suppress(OSError):
            for change in changes:
                put_back(change.fd, change.part)
                if change.part.border_id != NO_ID:
                    self._store.restore_border(change.part.border_id, change.part.border)
            self._store.log.clear()
