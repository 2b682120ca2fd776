"""Puts back what a rotation of contents left half done: before anything else looks at the tree (docs/format.md 1.8)."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

from phonevault.fs.access import open_in
from phonevault.fs.format import dirid
from phonevault.fs.format.journal import FILE_ID_BYTES
from phonevault.fs.format.rotation import ATTRIBUTE, FILE, FOLDER, Part
from phonevault.fs.recovery import FILE_ID_AT
from phonevault.fs.rotation.store import RotationStore, UndoLog
from phonevault.fs.walk import walk
from phonevault.fs.xattr_store import path_of

log = logging.getLogger(__name__)

_OURS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FLAGS = {
    FILE: os.O_RDWR | os.O_NOCTTY | _OURS,
    FOLDER: os.O_RDONLY | os.O_DIRECTORY | _OURS,
    ATTRIBUTE: os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC,
}


def pending(store: RotationStore) -> int:
    """How many objects are to be put back.

    Raises:
        OSError: of the backing store.
    """
    return len(store.log.read()) + len(store.attributes.read())


def undo(store: RotationStore, tree: Path) -> int:
    """Put everything back that the logs keep; durable when this returns.

    Returns:
        How many objects.

    Raises:
        OSError: of the backing store; the logs keep it.
    """
    return _undo(store, store.log, tree) + _undo(store, store.attributes, tree)


def _undo(store: RotationStore, kept: UndoLog, tree: Path) -> int:
    parts = kept.read()
    if not parts:
        return 0
    missing = _by_inode(store, tree, parts)
    if missing:
        missing = _by_file_id(store, tree, missing)
    for part in missing:
        log.warning("inode %d: what a rotation left half done is not there any more", part.inode)
    for part in parts:
        if part.border_id.strip(b"\0"):
            store.restore_border(part.border_id, part.border)
    kept.clear()
    return len(parts)


def _by_inode(store: RotationStore, tree: Path, parts: list[Part]) -> list[Part]:
    """Put back what is found under its inode number; returns the rest."""
    wanted = {(part.kind == ATTRIBUTE, part.inode): part for part in parts}
    device = os.stat(tree).st_dev

    def look(inode: int, opened: Callable[[int], int]) -> None:
        for attribute in (False, True):
            part = wanted.get((attribute, inode))
            if part is None:
                continue
            try:
                fd = opened(_FLAGS[part.kind])
            except OSError as error:
                if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO):
                    continue  # another kind of object has the number: this is a copy of the vault
                raise
            try:
                status = os.fstat(fd)
                if (status.st_dev, status.st_ino) == (device, inode) and put_back(fd, part):
                    del wanted[attribute, inode]
            finally:
                os.close(fd)

    look(os.stat(tree).st_ino, partial(os.open, tree))
    with contextlib.closing(walk(tree)) as entries:
        for directory_fd, entry in entries:
            inode = entry.inode()
            if (False, inode) in wanted or (True, inode) in wanted:
                look(inode, partial(open_in, directory_fd, entry.name))
    return list(wanted.values())


def _by_file_id(store: RotationStore, tree: Path, parts: list[Part]) -> list[Part]:
    """A copy of the vault has other inode numbers: its files are known by the ids in their headers."""
    wanted = {file_id: part for part in parts if part.kind == FILE for file_id in (part.before, part.after)}
    done: list[Part] = []
    with contextlib.closing(walk(tree)) as entries:
        for directory_fd, entry in entries:
            if not wanted or not entry.is_file(follow_symlinks=False):
                continue
            fd = open_in(directory_fd, entry.name, _FLAGS[FILE])
            try:
                found = wanted.get(_file_id(fd))
                if found is not None and put_back(fd, found):
                    done.append(found)
            finally:
                os.close(fd)
    return [part for part in parts if part not in done]


def put_back(fd: int, part: Part) -> bool:
    """Make one object what it was; False if it is another one.

    Raises:
        OSError: of the backing store.
    """
    if part.kind == ATTRIBUTE:
        return _put_attribute_back(fd, part)
    status = os.fstat(fd)
    if part.kind == FILE:
        if not stat.S_ISREG(status.st_mode) or _file_id(fd) not in (part.before, part.after):
            return False
        if status.st_size != part.size:
            return False
        for offset, old in part.extents:
            write_at(fd, old, offset)
    elif not _put_id_back(fd, part):
        return False
    restore_status(fd, part)
    os.fsync(fd)
    return True


def restore_status(fd: int, part: Part) -> None:
    """Mode (a write takes set-id bits) and times as they were."""
    status = os.fstat(fd)
    if part.kind == FILE and stat.S_IMODE(status.st_mode) != part.mode:
        os.fchmod(fd, part.mode)
    if (status.st_atime_ns, status.st_mtime_ns) != (part.atime_ns, part.mtime_ns):
        os.utime(fd, ns=(part.atime_ns, part.mtime_ns))


def write_at(fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all of it.

    Raises:
        OSError: of the backing store.
    """
    view, done = memoryview(data), 0
    while done < len(view):
        done += os.pwrite(fd, view[done:], offset + done)


def _file_id(fd: int) -> bytes:
    return os.pread(fd, FILE_ID_AT + FILE_ID_BYTES, 0)[FILE_ID_AT:]


def _put_id_back(fd: int, part: Part) -> bool:
    if not stat.S_ISDIR(os.fstat(fd).st_mode):
        return False
    for _, sealed in part.extents:
        try:
            below = open_in(fd, dirid.FILE_NAME, os.O_RDWR | _OURS)
        except FileNotFoundError:
            continue
        try:
            if os.fstat(below).st_size == len(sealed):
                write_at(below, sealed, 0)
                os.fsync(below)
        finally:
            os.close(below)
    return True


def _put_attribute_back(fd: int, part: Part) -> bool:
    (_, old), (_, value), (_, new) = part.extents
    path = path_of(fd)
    found = os.listxattr(path)
    if os.fsdecode(bytes(new)) not in found:
        os.setxattr(path, bytes(old), bytes(value))
    return True
