"""The id files of ciphertext directories: read, and given to a directory that has none (docs/format.md 2)."""

from __future__ import annotations

from phonevault.fs.errors import DirectoryIdDamaged
from phonevault.fs.format import dirid
from phonevault.fs.keys import TreeKeys
from phonevault.fs.removal import has_entries
from phonevault.fs.small_files import put_durably, read_small


def read(keys: TreeKeys, directory_fd: int) -> bytes:
    """The id of a directory.

    Raises:
        FileNotFoundError: it has none.
        DirectoryIdDamaged: its id file does not open.
        OSError: of the backing store.
    """
    return keys.open_directory_id(read_small(dirid.FILE_NAME, directory_fd))


def stand_in(directory_fd: int) -> bytes:
    """An id to look for names with in a directory without one: it has no entries, so nothing is found.

    Raises:
        DirectoryIdDamaged: it has entries; their names are lost.
    """
    if has_entries(directory_fd):
        raise DirectoryIdDamaged("a directory has no id file")
    return dirid.new_directory_id()


def give(keys: TreeKeys, directory_fd: int, known: bytes | None = None) -> bytes:
    """Give a directory without entries an id, or find the one that another host has given it meanwhile.

    Args:
        keys: of the tree.
        directory_fd: the directory.
        known: the id that it had: it may have entries of that id, and gets it again.

    Raises:
        DirectoryIdDamaged: as :func:`stand_in`.
        OSError: of the backing store.
    """
    directory_id = known or stand_in(directory_fd)
    try:
        put_durably(
            dirid.FILE_NAME, dirid.seal_directory_id(keys.names, directory_id), directory_fd, replace=False
        )
    except FileExistsError:
        return read(keys, directory_fd)
    return directory_id
