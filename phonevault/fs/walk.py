"""Every object of a ciphertext tree, without any key."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from phonevault.fs.access import made_accessible, open_in

Enter = Callable[[str], bool]

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = stat.S_IRUSR | stat.S_IXUSR


def _everything(_: str) -> bool:
    return True


def walk(tree: Path, enter: Enter = _everything) -> Generator[tuple[int, os.DirEntry[str]], None, None]:
    """Every entry of the tree with a descriptor of its directory, never through a link.

    Args:
        tree: its top.
        enter: which directories are entered, by their stored names; all of them, if left out.

    While others change the tree, what is moved may be passed over or come twice. What lies in a directory that is closed to its owner is
    opened by `fs.access.open_in`: no lock is held and no mode changed while an entry is looked at.

    Raises:
        OSError: of the backing store.
    """
    yield from _walk(os.open(tree, _FLAGS), enter)


def walk_below(
    directory_fd: int, stored: str, enter: Enter = _everything
) -> Generator[tuple[int, os.DirEntry[str]], None, None]:
    """The same below one directory of the tree."""
    yield from _walk(open_in(directory_fd, stored, _FLAGS), enter)


def _walk(top: int, wanted: Enter) -> Generator[tuple[int, os.DirEntry[str]], None, None]:
    levels = [_Level(top)]
    try:
        while levels:
            level = levels[-1]
            entry = next(level.entries, None)
            if entry is None:
                levels.pop().close()
                continue
            yield level.fd, entry
            if entry.is_dir(follow_symlinks=False) and wanted(entry.name):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # moved or removed meanwhile
                    levels.append(_Level(open_in(level.fd, entry.name, _FLAGS)))
    finally:
        while levels:
            levels.pop().close()


class _Level:
    """A directory while it is walked; one that is closed to its owner is read at once, while it is open to him."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        try:
            status = os.fstat(fd)
            self.entries: Iterator[os.DirEntry[str]]
            if status.st_uid == os.geteuid() != 0 and status.st_mode & _LOOK != _LOOK:
                with made_accessible(fd):
                    self.entries = iter(list(os.scandir(fd)))
            else:
                self.entries = os.scandir(fd)
        except OSError:
            os.close(fd)
            raise

    def close(self) -> None:
        os.close(self.fd)
