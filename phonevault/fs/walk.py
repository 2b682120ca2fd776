"""Every object of a ciphertext tree, without any key."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from phonevault.fs.access import open_however

Enter = Callable[[str], bool]

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _everything(_: str) -> bool:
    return True


def walk(tree: Path, enter: Enter = _everything) -> Generator[tuple[int, os.DirEntry[str]], None, None]:
    """Every entry of the tree with a descriptor of its directory, never through a link.

    Args:
        tree: its top.
        enter: which directories are entered, by their stored names; all of them, if left out.

    While others change the tree, what is moved may be passed over or come twice.

    Raises:
        OSError: of the backing store.
    """
    yield from _walk(os.open(tree, _FLAGS), enter)


def walk_below(
    directory_fd: int, stored: str, enter: Enter = _everything
) -> Generator[tuple[int, os.DirEntry[str]], None, None]:
    """The same below one directory of the tree."""
    yield from _walk(open_however(stored, _FLAGS, directory_fd), enter)


def _walk(top: int, wanted: Enter) -> Generator[tuple[int, os.DirEntry[str]], None, None]:
    with contextlib.ExitStack() as stack:
        levels: list[tuple[int, Iterator[os.DirEntry[str]]]] = []

        def enter(fd: int) -> None:
            levels.append((fd, os.scandir(fd)))

        def leave() -> None:
            while levels:
                os.close(levels.pop()[0])

        stack.callback(leave)
        enter(top)
        while levels:
            fd, entries = levels[-1]
            entry = next(entries, None)
            if entry is None:
                os.close(fd)
                levels.pop()
                continue
            yield fd, entry
            if entry.is_dir(follow_symlinks=False) and wanted(entry.name):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # moved or removed meanwhile
                    enter(open_however(entry.name, _FLAGS, fd))
