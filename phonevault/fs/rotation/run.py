"""Everything of a tree encrypted anew under the newer volume key: directory by directory, then file by file.

Whatever interrupts it, the undo log puts back what was half done, and doing it again goes on: what is under the newer key is known by it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from phonevault.fs.access import open_in, status_in
from phonevault.fs.core import Core
from phonevault.fs.errors import FileDamaged
from phonevault.fs.format import names
from phonevault.fs.nodes import PathHandle, key_of
from phonevault.fs.requests.files import FileOperations
from phonevault.fs.rotation.batch import Batch, Change
from phonevault.fs.rotation.files import FileSteps
from phonevault.fs.rotation.job import Job
from phonevault.fs.rotation.names import FolderSteps, Named, entered
from phonevault.fs.rotation.store import RotationStore
from phonevault.fs.rotation.undo import undo
from phonevault.fs.syscalls import syncfs
from phonevault.fs.walk import walk

_FILE_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = (errno.ENOENT, errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENOTDIR)
FOLDERS_TOGETHER = 64
"""Directories between two syncs."""


@dataclass
class ReencryptProgress:
    """How far it is.

    Attributes:
        total: regular files that the tree had at the beginning; 0 while they are counted.
        seen: files looked at.
        wrapped: files encrypted anew.
        damaged: files, names, links and attributes that open under no key: they keep the older ones.
        seconds: time worked, pauses left out.
        total_bytes: ciphertext of those files.
        seen_bytes: ciphertext of the files looked at.
        bytes_done: ciphertext written anew.
        folders: directories looked at.
        named: names, links and attributes encrypted anew.
    """

    total: int = 0
    seen: int = 0
    wrapped: int = 0
    damaged: int = 0
    seconds: float = 0.0
    total_bytes: int = 0
    seen_bytes: int = 0
    bytes_done: int = 0
    folders: int = 0
    named: int = 0


class Reencrypt(Job):
    """One run over a tree that nobody else uses.

    Args:
        core: unlocked, with the keys of both epochs.
        files: the requests for files, which know what is open.
        let_go: forgets the older keys.
        duty: share of the time that is worked, above 0, at most 1.
    """

    def __init__(
        self,
        core: Core,
        files: FileOperations,
        let_go: Callable[[], None],
        duty: float = 1.0,
    ) -> None:
        super().__init__(duty)
        self.progress = ReencryptProgress()
        self._core = core
        self._files = files
        self._let_go = let_go
        self._queued: dict[int, int] = {}
        """Descriptors of the files in the batch, by their keys in the node table."""

    def run(self, finish: Callable[[], None]) -> bool:
        """Encrypt everything anew, make that durable, then finish.

        Args:
            finish: takes the older volume keys out of the vault's header. Called only if nothing needs them.

        Returns:
            False if it was stopped, or if something damaged still needs an older key.

        Raises:
            OSError: of the backing store; running again goes on.
        """
        keys = self._core.keys
        if keys.rotation is None:
            raise AssertionError("no rotation of contents is under way")
        self._begin_slice()
        self.progress = ReencryptProgress()
        with contextlib.closing(
            RotationStore(self._core.tree.parent, keys.rotation.view, make=True)
        ) as store:
            self._store = store
            self._steps = FileSteps(keys, self._core.layout, self._core.cipher_id, store)
            return self._run(finish)

    def _run(self, finish: Callable[[], None]) -> bool:
        tree_fd = os.open(self._core.tree, _FOLDER_FLAGS)
        batch = Batch(self._store, tree_fd)
        try:
            undo(self._store, self._core.tree)
            self._core.keys.borders = self._store.borders()
            if not (self._count() and self._folders(tree_fd) and self._contents(batch)):
                return False
            syncfs(tree_fd)
            if self.progress.damaged:
                return False
            finish()
            self._let_go()
            self._store.remove()
            return True
        finally:
            self._release(batch)
            os.close(tree_fd)
            self.progress.seconds = self.worked_s

    def _rest(self) -> bool:
        going_on = self._breathe()
        self.progress.seconds = self.worked_s
        return going_on

    def _entries(self) -> Iterator[tuple[int, os.DirEntry[str]]]:
        with contextlib.closing(walk(self._core.tree, names.is_entry)) as entries:
            for directory_fd, entry in entries:
                if names.is_entry(entry.name) and entry.is_file(follow_symlinks=False):
                    yield directory_fd, entry

    def _count(self) -> bool:
        files = size = 0
        for directory_fd, entry in self._entries():
            files += 1
            with contextlib.suppress(FileNotFoundError):
                size += status_in(directory_fd, entry.name).st_size
            if self._slice_is_over and not self._rest():
                return False
        self.progress.total, self.progress.total_bytes = files, size
        return True

    # -- directories --------------------------------------------------------------------------------------

    def _folders(self, tree_fd: int) -> bool:
        """Names, links and attributes of every directory, some directories together; False when stopped."""
        steps = FolderSteps(self._core, self._store)
        self._account(steps.root_attributes(tree_fd))
        waiting: list[tuple[PathHandle, str]] = []
        group = [PathHandle(os.dup(tree_fd))]
        while group:
            parts = [steps.part(handle.fd) for handle in group]
            self._store.log.write(parts)
            for handle, part in zip(group, parts, strict=True):
                self._account(steps.convert(handle.fd, part))
                self.progress.folders += 1
            syncfs(tree_fd)
            self._store.log.clear()
            for handle in group:
                waiting += [(handle, name) for name in _folders_in(handle.fd)]
            if not self._rest():
                return False
            group = [
                PathHandle(_open_folder(*waiting.pop())) for _ in range(min(len(waiting), FOLDERS_TOGETHER))
            ]
        done, damaged = steps.links.sidecars()
        self._account(Named(done, damaged))
        return True

    def _account(self, named: Named) -> None:
        self.progress.named += named.done
        self.progress.damaged += named.damaged

    # -- files --------------------------------------------------------------------------------------------

    def _contents(self, batch: Batch) -> bool:
        """Every file's contents; False when stopped."""
        for directory_fd, entry in self._entries():
            self._file(batch, directory_fd, entry.name)
            if batch.full or (not batch and self._slice_is_over):
                self._commit(batch)
                if not self._rest():
                    return False
            if self.stopped:
                return False
        self._commit(batch)
        return True

    def _file(self, batch: Batch, directory_fd: int, stored: str) -> None:
        try:
            fd = open_in(directory_fd, stored, _FILE_FLAGS)
        except OSError as error:
            if error.errno in _GONE:
                return
            raise
        kept = False
        try:
            status = os.fstat(fd)
            self.progress.seen += 1
            self.progress.seen_bytes += status.st_size
            if stat.S_ISREG(status.st_mode) and key_of(status) not in self._queued:
                kept = self._queue(batch, fd, key_of(status))
        except FileDamaged:
            self.progress.damaged += 1
        finally:
            if not kept:
                os.close(fd)

    def _queue(self, batch: Batch, fd: int, key: int) -> bool:
        """Make a file's change wait with others; a file of several steps is done here. Whether the descriptor is kept."""
        if self._steps.is_done(fd):
            return False
        change = self._steps.next(fd)
        if change is None:
            return False
        if change.border is None:
            batch.add(change)
            self._queued[key] = fd
            return True
        self._commit(batch)
        while change is not None:
            batch.add(change)
            self._make(batch, [change])
            if change.border is None:
                self.progress.wrapped += 1
                break
            if not self._rest():
                break
            change = self._steps.next(fd)
        return False

    def _commit(self, batch: Batch) -> None:
        self.progress.wrapped += len(self._queued)
        try:
            self._make(batch, batch.changes)
        finally:
            self._release(batch)

    def _make(self, batch: Batch, changes: list[Change]) -> None:
        weight = sum(change.weight for change in changes)
        borders = self._core.keys.borders
        done = list(changes)
        batch.commit()
        self.progress.bytes_done += weight
        for change in done:
            if change.border is not None:
                borders[change.border.file_id] = change.border
            else:
                borders.pop(change.part.border_id, None)

    def _release(self, batch: Batch) -> None:
        batch.drop()
        queued, self._queued = self._queued, {}
        for fd in queued.values():
            os.close(fd)


def _folders_in(fd: int) -> list[str]:
    with entered(fd), os.scandir(fd) as entries:
        return [
            entry.name
            for entry in entries
            if names.is_entry(entry.name) and entry.is_dir(follow_symlinks=False)
        ]


def _open_folder(above: PathHandle, stored: str) -> int:
    return open_in(above.fd, stored, _FOLDER_FLAGS)
