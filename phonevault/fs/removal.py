"""Taking away what an object leaves beside itself: ids of directories that go, objects that never came into place."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from phonevault.fs.format import dirid, names
from phonevault.fs.small_files import for_reading, opened_up, put_durably, read_small

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def without_id(directory_fd: int, stored: str) -> Iterator[None]:
    """An empty directory, whose id file is gone while the body removes it or puts another in its place.

    A crash here leaves an empty directory without an id, which is what it was before: a directory without entries needs none,
    and is given a new one with its first entry (docs/format.md 2). If the body fails, the id is put back.

    Raises:
        OSError: ENOTEMPTY, ENOTDIR; whatever the body raises.
    """
    with _opened(directory_fd, stored) as fd:
        _check_empty(fd)
        try:
            sealed = read_small(dirid.FILE_NAME, fd)
            os.unlink(dirid.FILE_NAME, dir_fd=fd)
        except FileNotFoundError:
            sealed = None
        try:
            yield
        except OSError:
            if sealed is not None:
                # Another host may have made an entry meanwhile; its name needs this id, unless that host gave a new one.
                with contextlib.suppress(OSError):
                    put_durably(dirid.FILE_NAME, sealed, fd, replace=False)
            raise


def remove_leftover(directory_fd: int, name: str) -> None:
    """Remove what goes by a temporary name: a file, or a directory with nothing but an id.

    Raises:
        OSError: of the backing store.
    """
    try:
        os.unlink(name, dir_fd=directory_fd)
    except (IsADirectoryError, PermissionError):
        with _opened(directory_fd, name) as fd:
            for own in _list(fd):
                if not names.is_entry(own):
                    os.unlink(own, dir_fd=fd)
        os.rmdir(name, dir_fd=directory_fd)


def has_entries(fd: int) -> bool:
    """Whether a directory has any entry, one that does not decrypt included."""
    return any(names.is_entry(name) for name in _list(fd))


def _check_empty(fd: int) -> None:
    """Refuse a directory with entries; clear away what an interrupted change left in it."""
    found = _list(fd)
    if any(names.is_entry(name) for name in found):
        raise OSError(errno.ENOTEMPTY, "directory not empty")
    for name in found:
        if name.startswith(names.TEMPORARY_PREFIX):
            remove_leftover(fd, name)
        elif name.endswith(names.LONG_SUFFIX):
            os.unlink(name, dir_fd=fd)


def _list(fd: int) -> list[str]:
    again = for_reading(fd)
    try:
        return os.listdir(again)
    finally:
        os.close(again)


@contextmanager
def _opened(directory_fd: int, stored: str) -> Iterator[int]:
    path_fd = os.open(stored, _PATH, dir_fd=directory_fd)
    try:
        with opened_up(path_fd):
            yield path_fd
    finally:
        os.close(path_fd)
