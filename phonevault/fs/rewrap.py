"""Wrapping every file key under the current volume key: 128 bytes a file, while the tree is in use or not.

What is moved while the tree is walked could be passed over. So moves are noted, and looked at before the older keys go: under the node
table's lock, which every move takes. A file whose header does not open keeps its header, and with it the older keys.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from phonevault.fs.access import open_in, status_in
from phonevault.fs.contents.sparse_file import SparseFile
from phonevault.fs.core import Core
from phonevault.fs.errors import FileDamaged
from phonevault.fs.format import names
from phonevault.fs.format.file_header import parse_header
from phonevault.fs.format.layout import HEADER_BYTES
from phonevault.fs.nodes import Node, PathHandle
from phonevault.fs.requests.files import FileOperations
from phonevault.fs.rotation.job import Job
from phonevault.fs.syscalls import syncfs
from phonevault.fs.walk import walk, walk_below

_FILE_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_GONE = (errno.ENOENT, errno.ELOOP, errno.EISDIR, errno.ENXIO)
"""What an open says where no regular file is any more."""


@dataclass
class RewrapProgress:
    """How far it is.

    Attributes:
        total: regular files that the tree had at the beginning.
        seen: files looked at in this pass.
        wrapped: file keys wrapped anew, over all passes.
        damaged: files whose header does not open.
        seconds: time worked, pauses left out.
    """

    total: int = 0
    seen: int = 0
    wrapped: int = 0
    damaged: int = 0
    seconds: float = 0.0


class Rewrap(Job):
    """One run over a tree.

    Args:
        core: unlocked, with the keys of the older epochs.
        files: the requests for files, which know what is open.
        let_go: forgets the older keys.
        duty: share of the time that is worked, above 0, at most 1.
    """

    def __init__(
        self, core: Core, files: FileOperations, let_go: Callable[[], None], duty: float = 1.0
    ) -> None:
        super().__init__(duty)
        self.progress = RewrapProgress()
        self._core = core
        self._files = files
        self._let_go = let_go
        self._at_the_end = False

    # -- the run ------------------------------------------------------------------------------------------

    def run(self, finish: Callable[[], None]) -> bool:
        """Wrap every file key anew, make that durable, then finish.

        Args:
            finish: retires the older volume keys in the vault's header. Called while nothing can be moved or opened, and only
                if no file needs them.

        Returns:
            False if it was stopped, or if a damaged header still needs an older key.

        Raises:
            OSError: of the backing store; running again goes on.
        """
        core = self._core
        core.note_moves(True)
        try:
            self._count()
            self._open_files()
            while not self.stopped and self._pass():
                pass
            if self.stopped or self.progress.damaged:
                return False
            self._sync()
            with core.nodes.lock:
                # Requests wait: no syncfs here. What every file had at the last pass is home; what is wrapped now, by itself.
                self._at_the_end = True
                self._moved()
                self._open_files()
                if self.stopped or self.progress.damaged:
                    return False
                finish()
                self._let_go()
                return True
        finally:
            self._at_the_end = False
            core.note_moves(False)

    def _sync(self) -> None:
        """Every header is on stable storage after this."""
        fd = os.open(self._core.tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syncfs(fd)
        finally:
            os.close(fd)

    def _count(self) -> None:
        total = 0
        with contextlib.closing(walk(self._core.tree, names.is_entry)) as entries:
            self._begin_slice()
            for _, entry in entries:
                total += _is_contents(entry)
                if not self._rest():
                    return
        self.progress.total = total

    def _pass(self) -> bool:
        """Look at every file; whether any had an older key."""
        before, self.progress.seen, self.progress.damaged = self.progress.wrapped, 0, 0
        with contextlib.closing(walk(self._core.tree, names.is_entry)) as entries:
            self._begin_slice()
            for directory_fd, entry in entries:
                if _is_contents(entry):
                    self._entry(directory_fd, entry.name)
                    if not self._rest():
                        return True
        self._end_slice()
        self.progress.seconds = self.worked_s
        self._moved()
        return self.progress.wrapped != before

    def _rest(self) -> bool:
        """Rest as the duty and a pause ask for, after a slice of work; False when stopped."""
        if not self._slice_is_over:
            return not self.stopped
        going_on = self._breathe()
        self.progress.seconds = self.worked_s
        return going_on

    def _open_files(self) -> None:
        """Files that programs hold open, those without a name included."""
        for node in self._core.nodes.all_nodes():
            try:
                self._open_file(node)
            except FileDamaged:
                self.progress.damaged += 1

    def _open_file(self, node: Node) -> None:
        with self._core.nodes.lock:  # else its last handle and name could go in between
            if node.contents is not None:
                with self._files.writable(node) as contents:
                    self._wrap_contents(contents)

    def _wrap_contents(self, contents: SparseFile) -> None:
        with _times_kept(contents.fd):
            if contents.wrap_anew(self._core.keys):
                self.progress.wrapped += 1
                if self._at_the_end:
                    contents.sync(data_only=True)

    def _moved(self) -> None:
        """What was moved meanwhile."""
        while moves := self._core.take_moves():
            for directory, stored in moves:
                if self.stopped:
                    return
                self._place(directory, stored)

    def _place(self, directory: PathHandle, stored: str) -> None:
        try:
            mode = status_in(directory.fd, stored).st_mode
            if stat.S_ISREG(mode):
                self._entry(directory.fd, stored)
            elif stat.S_ISDIR(mode):
                self._below(directory.fd, stored)
        except (FileNotFoundError, NotADirectoryError):
            return  # moved again; that is noted as well

    def _below(self, directory_fd: int, stored: str) -> None:
        with contextlib.closing(walk_below(directory_fd, stored, names.is_entry)) as entries:
            for below_fd, entry in entries:
                if self.stopped:
                    return
                if _is_contents(entry):
                    self._entry(below_fd, entry.name)

    def _entry(self, directory_fd: int, stored: str) -> None:
        self.progress.seen += 1
        try:
            fd = open_in(directory_fd, stored, _FILE_FLAGS)
        except OSError as error:
            if error.errno in _GONE:
                return  # moved, removed or replaced meanwhile; moves are noted
            raise
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode) and self._is_old(fd):
                self._wrap(fd)
        except FileDamaged:
            self.progress.damaged += 1
        finally:
            os.close(fd)

    def _is_old(self, fd: int) -> bool:
        raw = os.pread(fd, HEADER_BYTES, 0)
        try:
            return len(raw) > 0 and parse_header(raw).epoch != self._core.keys.epoch
        except FileDamaged:
            return True  # damaged, or just being written: looked at again while nobody writes

    def _wrap(self, fd: int) -> None:
        core = self._core
        with core.nodes.lock:  # whoever opens the file now waits
            node = core.nodes.find(os.fstat(fd))
            if node is not None and node.contents is not None:
                self._open_file(node)
            else:
                with core.contents_besides(fd) as contents:
                    self._wrap_contents(contents)


def _is_contents(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False) and names.is_entry(entry.name)


@contextlib.contextmanager
def _times_kept(fd: int) -> Iterator[None]:
    """A header is no content: the file's times stay."""
    before = os.fstat(fd)
    yield
    if os.fstat(fd).st_mtime_ns != before.st_mtime_ns:
        os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
