"""Everything of a tree encrypted anew under the newer volume key: directory by directory, then file by file.

Whatever interrupts it, the undo log puts back what was half done, and doing it again goes on: what is under the newer key is known by it.

In a mount it has the tree for itself for a stretch of work, of at most `BATCH_BYTES` or `FOLDERS_TOGETHER` directories; in the rests
between, the mount's requests are served. What is made then is under the newer key from the start; what is moved then could be passed over,
so moves are noted, and looked at in the end, until there were none.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from phonevault.fs.access import made_accessible, open_in, status_in
from phonevault.fs.core import Core
from phonevault.fs.errors import FileDamaged
from phonevault.fs.format import names
from phonevault.fs.nodes import Node, PathHandle, key_of
from phonevault.fs.rotation.batch import Batch, Change
from phonevault.fs.rotation.files import FileSteps
from phonevault.fs.rotation.job import Job
from phonevault.fs.rotation.names import FolderSteps, Named, entered
from phonevault.fs.rotation.store import RotationStore
from phonevault.fs.rotation.undo import undo
from phonevault.fs.syscalls import syncfs
from phonevault.fs.walk import walk, walk_below

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
    """One run over a tree.

    Args:
        core: unlocked, with the keys of both epochs.
        still: while it is entered nobody else uses the tree.
        let_go: forgets the older keys.
        duty: share of the time that is worked, above 0, at most 1.
    """

    def __init__(
        self,
        core: Core,
        still: Callable[[], AbstractContextManager[None]],
        let_go: Callable[[], None],
        duty: float = 1.0,
    ) -> None:
        super().__init__(duty)
        self.progress = ReencryptProgress()
        self._core = core
        self._still = still
        self._held = contextlib.ExitStack()
        self._rests = 0
        self._nameless_nodes: dict[int, Node] = {}
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
            self._core.note_moves(True)
            try:
                with self._held:
                    self._held.enter_context(self._still())
                    return self._run(finish)
            finally:
                self._core.note_moves(False)

    def _run(self, finish: Callable[[], None]) -> bool:
        tree_fd = os.open(self._core.tree, _FOLDER_FLAGS)
        batch = Batch(self._store, tree_fd)
        try:
            undo(self._store, self._core.tree)
            self._core.keys.borders = self._store.borders()
            self._changed([node.contents.fd for node in self._core.nodes.all_nodes() if node.contents])
            if not self._everything(batch, tree_fd) or self.progress.damaged:
                return False
            finish()
            self._let_go()
            self._store.remove()
            return True
        finally:
            self._release(batch)
            os.close(tree_fd)
            self.progress.seconds = self.worked_s

    def _everything(self, batch: Batch, tree_fd: int) -> bool:
        """All that has a name; False when stopped. Nobody has used the tree since what was looked at last."""
        steps = FolderSteps(self._core, self._store)
        self._account(steps.root_attributes(tree_fd))
        if not (
            self._count()
            and self._folders(steps, os.dup(tree_fd), tree_fd)
            and self._contents(batch, self._entries())
        ):
            return False
        done, damaged = steps.links.sidecars()
        self._account(Named(done, damaged))
        return self._home(tree_fd) and self._left(steps, batch, tree_fd)

    def _left(self, steps: FolderSteps, batch: Batch, tree_fd: int) -> bool:
        """What others did in the rests; False when stopped. They have had none since."""
        while True:
            if not self._moved(steps, batch, tree_fd):
                return False
            rests = self._rests
            self._nameless(batch)
            if self._rests == rests:
                return not self.stopped

    def _rest(self) -> bool:
        """Let others use the tree for a while; False when stopped."""
        self._rests += 1
        self._held.close()
        try:
            going_on = self._breathe()
        finally:
            self._held.enter_context(self._still())
        self.progress.seconds = self.worked_s
        return going_on

    def _home(self, tree_fd: int) -> bool:
        """Everything so far on stable storage, while others use the tree; False when stopped."""
        self._held.close()
        try:
            syncfs(tree_fd)
        finally:
            self._held.enter_context(self._still())
        return not self.stopped

    def _entries(self) -> Iterator[tuple[int, os.DirEntry[str]]]:
        return _files_of(walk(self._core.tree, names.is_entry))

    @staticmethod
    def _entries_below(directory_fd: int, stored: str) -> Iterator[tuple[int, os.DirEntry[str]]]:
        """Those of a directory, if it is still there."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            yield from _files_of(walk_below(directory_fd, stored, names.is_entry))

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

    def _folders(self, steps: FolderSteps, top: int, tree_fd: int) -> bool:
        """Names, links and attributes of a directory and of all below it, some directories together; False when stopped.

        Args:
            steps: what is done in each.
            top: a descriptor of it, which is closed here.
            tree_fd: open on the tree.
        """
        waiting: list[tuple[PathHandle, str]] = []
        group = [PathHandle(top)]
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
            group = []
            while waiting and len(group) < FOLDERS_TOGETHER:
                fd = _open_folder(*waiting.pop())
                if fd is not None:
                    group.append(PathHandle(fd))
        return True

    # -- what others did in the rests ---------------------------------------------------------------------

    def _moved(self, steps: FolderSteps, batch: Batch, tree_fd: int) -> bool:
        """What was moved meanwhile, until nothing was; False when stopped."""
        while moves := self._core.take_moves():
            for directory, stored in moves:
                if not self._place(steps, batch, tree_fd, directory, stored):
                    return False
            self._commit(batch)
            if not self._home(tree_fd):
                return False
        return True

    def _place(
        self, steps: FolderSteps, batch: Batch, tree_fd: int, directory: PathHandle, stored: str
    ) -> bool:
        """One place that something was moved to; False when stopped."""
        try:
            status = status_in(directory.fd, stored)
        except FileNotFoundError:
            return True  # moved on, which was noted, or removed
        if stat.S_ISDIR(status.st_mode):
            self._commit(batch)
            fd = _open_folder(directory, stored)
            return fd is None or (
                self._folders(steps, fd, tree_fd)
                and self._contents(batch, self._entries_below(directory.fd, stored))
            )
        self._account(steps.entry(directory.fd, stored))
        if stat.S_ISREG(status.st_mode):
            self._file(batch, directory.fd, stored)
        return True

    def _nameless(self, batch: Batch) -> None:
        """Files that programs hold open and that have no name any more."""
        opened = [node for node in self._core.nodes.all_nodes() if node.contents and not node.parent]
        self._nameless_nodes = {node.key: node for node in opened}
        for node in opened:
            if node.contents is not None:  # it may have been closed in a rest
                self._opened(batch, _for_writing(node.contents.fd))
        self._commit(batch)

    def _account(self, named: Named) -> None:
        self.progress.named += named.done
        self.progress.damaged += named.damaged

    # -- files --------------------------------------------------------------------------------------------

    def _contents(self, batch: Batch, entries: Iterator[tuple[int, os.DirEntry[str]]]) -> bool:
        """Files' contents; False when stopped."""
        for directory_fd, entry in entries:
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
        self._opened(batch, fd)

    def _opened(self, batch: Batch, fd: int) -> None:
        """One file by its descriptor, which is closed here, or with its batch."""
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
        try:
            batch.commit()
        finally:
            self._changed([change.fd for change in done])
        self.progress.bytes_done += weight
        for change in done:
            if change.border is not None:
                borders[change.border.file_id] = change.border
            else:
                borders.pop(change.part.border_id, None)

    def _changed(self, fds: list[int]) -> None:
        """Programs may have these files open: their headers are read again."""
        for fd in fds:
            status = os.fstat(fd)
            node = self._core.nodes.find(status) or self._nameless_nodes.get(key_of(status))
            if node is not None and node.contents is not None:
                node.contents.wipe()

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


def _open_folder(above: PathHandle, stored: str) -> int | None:
    """A descriptor of a directory; None if it was moved (which is noted) or removed meanwhile."""
    try:
        return open_in(above.fd, stored, _FOLDER_FLAGS)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise


def _for_writing(fd: int) -> int:
    """A descriptor for reading and writing of a file of ours that may have no name."""
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        return os.open(f"/proc/self/fd/{fd}", flags)
    except PermissionError:
        with made_accessible(fd):
            return os.open(f"/proc/self/fd/{fd}", flags)


def _files_of(
    walked: Generator[tuple[int, os.DirEntry[str]], None, None],
) -> Iterator[tuple[int, os.DirEntry[str]]]:
    with contextlib.closing(walked) as entries:
        for directory_fd, entry in entries:
            if names.is_entry(entry.name) and entry.is_file(follow_symlinks=False):
                yield directory_fd, entry
