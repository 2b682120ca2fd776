"""The folder VAULT/rotation: the undo log, the borders of files half done, and new links that still have old names (docs/format.md 1.8)."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from phonevault.fs.format import names
from phonevault.fs.format.rotation import (
    ATTRIBUTE_LOG,
    BORDER_BYTES,
    DIRECTORY,
    LINK_PREFIX,
    LOG,
    PAGE_BYTES,
    Border,
    Bytes,
    Part,
    RotationDamaged,
    log_length,
    pack_log,
    parse_border,
    parse_log,
)
from phonevault.fs.small_files import make_directory, open_small, put_durably

log = logging.getLogger(__name__)

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BORDER_NAME = re.compile(r"[0-9a-f]{32}")
_VECTORS = 512


class UndoLog:
    """One log. Nothing of the tree is changed before what it replaces is in it, durably.

    Args:
        directory_fd: of the folder.
        name: of the log.
        key: of the MAC.
    """

    def __init__(self, directory_fd: int, name: str, key: Bytes) -> None:
        self._directory_fd = directory_fd
        self._name = name
        self._key = key
        self._fd: int | None = None

    def write(self, parts: list[Part]) -> None:
        """Keep what is about to be changed: durable when this returns.

        Raises:
            OSError: of the backing store; nothing may be changed then.
        """
        page, body = pack_log(self._key, parts)
        fd = self._opened()
        place, pieces = 0, [page, *body]
        for start in range(0, len(pieces), _VECTORS):
            place = _write_all(fd, pieces[start : start + _VECTORS], place)
        os.fdatasync(fd)

    def clear(self) -> None:
        """All of it is changed, or undone, durably: the log counts no more, durably.

        Raises:
            OSError: of the backing store.
        """
        fd = self._opened()
        os.pwrite(fd, bytes(8), 0)
        os.fdatasync(fd)

    def read(self) -> list[Part]:
        """What is to be put back; nothing, if the log was not written to the end.

        Raises:
            OSError: of the backing store.
        """
        try:
            fd = open_small(self._name, self._directory_fd)
        except FileNotFoundError:
            return []
        try:
            page = os.pread(fd, PAGE_BYTES, 0)
            length = log_length(page)
            if not length:
                return []
            return parse_log(self._key, page, _read_all(fd, length, PAGE_BYTES))
        except RotationDamaged as why:
            log.warning("%s: %s", self._name, why)
            return []
        finally:
            os.close(fd)

    def close(self) -> None:
        """At the end."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _opened(self) -> int:
        if self._fd is None:
            try:
                self._fd = os.open(self._name, _FILE_FLAGS, dir_fd=self._directory_fd)
            except FileNotFoundError:
                owner = os.fstat(self._directory_fd)
                put_durably(self._name, b"", self._directory_fd, replace=True, like=owner)
                self._fd = os.open(self._name, _FILE_FLAGS, dir_fd=self._directory_fd)
        return self._fd


class RotationStore:
    """The folder, open.

    Args:
        vault: VAULT.
        key: of the MACs, from the new volume key; the caller's, who wipes it.
        make: make the folder if it is not there.

    Raises:
        FileNotFoundError: it is not there.
        OSError: of the backing store.
    """

    def __init__(self, vault: Path, key: Bytes, *, make: bool = False) -> None:
        self._vault = vault
        self._key = key
        try:
            self.fd = os.open(vault / DIRECTORY, _FLAGS)
        except FileNotFoundError:
            if not make:
                raise
            self.fd = _made(vault)
        self.log = UndoLog(self.fd, LOG, key)
        self.attributes = UndoLog(self.fd, ATTRIBUTE_LOG, key)

    def close(self) -> None:
        """Close it; what is in it stays."""
        self.log.close()
        self.attributes.close()
        os.close(self.fd)

    # -- borders ------------------------------------------------------------------------------------------

    def borders(self) -> dict[bytes, Border]:
        """Those of all files that are half done, by their new file ids."""
        found = {}
        for name in os.listdir(self.fd):
            if not _BORDER_NAME.fullmatch(name):
                continue
            try:
                border = parse_border(self._key, self.border_bytes(bytes.fromhex(name)))
            except RotationDamaged as why:
                log.warning("%s: %s", name, why)
                continue
            if border.file_id.hex() == name:
                found[border.file_id] = border
        return found

    def border_bytes(self, file_id: bytes) -> bytes:
        """A border as it is stored; empty if there is none."""
        try:
            fd = open_small(file_id.hex(), self.fd)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(fd, BORDER_BYTES + 1, 0)
        finally:
            os.close(fd)

    def put_border(self, border: Border) -> None:
        """Write a border, durably. The undo log knows the one before."""
        self.restore_border(border.file_id, border.packed(self._key))

    def restore_border(self, file_id: bytes, raw: bytes) -> None:
        """Store bytes of a border, or none; durable when this returns."""
        name = file_id.hex()
        if raw:
            put_durably(name, raw, self.fd, replace=True, like=os.fstat(self.fd))
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)
            os.fsync(self.fd)

    # -- the end ------------------------------------------------------------------------------------------

    def link_names(self) -> set[str]:
        """New links that were put beside the tree, because an old one has several names."""
        return {name for name in os.listdir(self.fd) if name.startswith(LINK_PREFIX)}

    def remove(self) -> None:
        """The rotation is over: away with the folder. What cannot go is a leftover, which nobody reads."""
        with contextlib.suppress(OSError):
            remove_own(self.fd)
            (self._vault / DIRECTORY).rmdir()


def remove_own(fd: int) -> None:
    """Remove from the folder what a rotation makes there, and nothing else.

    Raises:
        OSError: of the backing store.
    """
    own = (LINK_PREFIX, names.TEMPORARY_PREFIX)
    for name in os.listdir(fd):
        if name in (LOG, ATTRIBUTE_LOG) or name.startswith(own) or _BORDER_NAME.fullmatch(name):
            os.unlink(name, dir_fd=fd)


@contextlib.contextmanager
def opened_store(vault: Path, key: Bytes) -> Iterator[RotationStore | None]:
    """The folder for as long as the body runs; None if there is none.

    Raises:
        OSError: of the backing store.
    """
    try:
        store = RotationStore(vault, key)
    except FileNotFoundError:
        yield None
        return
    try:
        yield store
    finally:
        store.close()


def _made(vault: Path) -> int:
    above = os.open(vault, _FLAGS)
    try:
        make_directory(DIRECTORY, above)
        return os.open(DIRECTORY, _FLAGS, dir_fd=above)
    finally:
        os.close(above)


def _write_all(fd: int, pieces: list[Bytes], place: int) -> int:
    """Write pieces one behind the other; where the next one would go."""
    views = [memoryview(piece) for piece in pieces if len(piece)]
    while views:
        done = os.pwritev(fd, views, place)
        place += done
        while views and done >= len(views[0]):
            done -= len(views.pop(0))
        if views:
            views[0] = views[0][done:]
    return place


def _read_all(fd: int, length: int, place: int) -> bytes:
    pieces = []
    while length:
        piece = os.pread(fd, length, place)
        if not piece:
            raise RotationDamaged("the undo log is cut short")
        pieces.append(piece)
        place, length = place + len(piece), length - len(piece)
    return b"".join(pieces)
