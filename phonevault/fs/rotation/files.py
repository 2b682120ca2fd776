"""One file's contents under a new file key, in its place: whole if it is small, else step by step behind a border."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from phonevault.fs.contents.reseal import FileKey, Stretch, reseal
from phonevault.fs.errors import FileDamaged
from phonevault.fs.format.file_header import (
    CIPHER_GCM,
    KEY_BYTES,
    FileHeader,
    open_header,
    parse_header,
    seal_header,
)
from phonevault.fs.format.layout import AES_BLOCK_BYTES, HEADER_BYTES, Layout
from phonevault.fs.format.rotation import FILE, NO_ID, Border, Bytes, Part
from phonevault.fs.keys import TreeKeys
from phonevault.fs.rotation.batch import BATCH_BYTES, Change
from phonevault.fs.rotation.store import RotationStore


class FileSteps:
    """Makes the changes that encrypt files anew.

    Args:
        keys: of the tree, while the rotation is under way.
        layout: of the vault.
        cipher: ``FileHeader.cipher`` of the vault.
        store: knows the borders as they are stored.
    """

    def __init__(self, keys: TreeKeys, layout: Layout, cipher: int, store: RotationStore) -> None:
        self._keys = keys
        self._layout = layout
        self._cipher = cipher
        self._store = store
        self._rooms: dict[str, bytearray] = {}
        """Of a file of several steps, which are made one after the other."""
        self._unit = layout.cipher_block if cipher == CIPHER_GCM else layout.block_size

    def is_done(self, fd: int) -> bool:
        """Whether nothing of a file needs an older key. Cheap; a damaged header counts as not done."""
        raw = os.pread(fd, HEADER_BYTES, 0)
        try:
            header = parse_header(raw)
        except FileDamaged:
            return not raw
        return header.epoch == self._keys.epoch and not header.halfway

    def next(self, fd: int) -> Change | None:
        """The next step of a file; None if it is done.

        Raises:
            FileDamaged: it does not open; nothing was changed.
            OSError: of the backing store.
        """
        status = os.fstat(fd)
        raw = os.pread(fd, HEADER_BYTES, 0)
        if not raw:
            return None
        header = parse_header(raw)
        if (header.cipher, header.block_size) != (self._cipher, self._layout.block_size):
            raise FileDamaged("a file's header names another cipher or block size than the vault's")
        if header.epoch == self._keys.epoch and not header.halfway:
            return None
        total = self._layout.plain_size(status.st_size)
        if total == 0:
            self._without_contents(fd, status, header)
            return None
        with self._file_keys(raw, header) as (old, new, sealed, border):
            return self._step(fd, status, total, raw, header, old, new, sealed, border)

    def _without_contents(self, fd: int, status: os.stat_result, header: FileHeader) -> None:
        """A first write was interrupted behind the header, and nothing was promised of it: the file is empty.

        Raises:
            FileDamaged: it was cut.
        """
        if status.st_size != HEADER_BYTES:
            raise FileDamaged("a file was cut")
        os.ftruncate(fd, 0)
        os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
        if header.halfway:
            self._store.restore_border(header.file_id, b"")

    # -- keys ---------------------------------------------------------------------------------------------

    @contextmanager
    def _file_keys(
        self, raw: bytes, header: FileHeader
    ) -> Iterator[tuple[FileKey, FileKey, FileHeader, Border | None]]:
        """Old and new file key, the header that the file will have in the end, and its border if it has one."""
        arena, length = self._keys.arena, KEY_BYTES[self._cipher]
        border = self._keys.borders.get(header.file_id) if header.halfway else None
        if header.halfway and border is None:
            raise FileDamaged("a file is half encrypted anew, and how far is not known")
        first = arena.take()
        second = arena.take() if border is not None else arena.take_random()
        try:
            if border is None:
                self._open(raw, header, first[:length])
                after = FileHeader(
                    self._cipher, header.block_size, header.sparse, self._keys.epoch, os.urandom(16)
                )
                before = header
            else:
                before = parse_header(border.old_header)
                self._open(border.old_header, before, first[:length])
                self._open(raw, header, second[:length])
                after = FileHeader(
                    self._cipher, header.block_size, header.sparse, header.epoch, header.file_id
                )
            old = FileKey(before.file_id, first[:length])
            yield old, FileKey(after.file_id, second[:length]), after, border
        finally:
            arena.give_back(first)
            arena.give_back(second)

    def _open(self, raw: bytes, header: FileHeader, room: memoryview) -> None:
        open_header(raw, header, self._keys.file_keys_of(header.epoch), room)

    def _seal(self, header: FileHeader, key: memoryview) -> bytes:
        return seal_header(header, self._keys.file_keys_of(header.epoch), key)

    # -- steps --------------------------------------------------------------------------------------------

    def _step(
        self,
        fd: int,
        status: os.stat_result,
        total: int,
        raw: bytes,
        header: FileHeader,
        old: FileKey,
        new: FileKey,
        sealed: FileHeader,
        border: Border | None,
    ) -> Change:
        blocks = self._layout.blocks_of(total)
        first = border.blocks if border is not None else 0
        if header.sparse:
            first = self._first_with_data(fd, first, blocks)
        stop = min(first + max(BATCH_BYTES // self._unit, 1), blocks)
        last = stop >= blocks
        several = border is not None or not last
        extents, fresh = self._resealed(
            fd, status.st_size, header, old, new, first, stop, blocks, again=several
        )
        after = sealed if last else _halfway(sealed)
        if last or border is None:
            extents.insert(0, (0, raw))
            fresh.insert(0, (0, self._seal(after, new.key)))
        part = Part(
            FILE,
            status.st_ino,
            status.st_mode & 0o7777,
            status.st_atime_ns,
            status.st_mtime_ns,
            status.st_size,
            header.file_id,
            new.file_id,
            new.file_id if several else NO_ID,
            self._store.border_bytes(new.file_id) if border is not None else b"",
            extents,
        )
        old_header = border.old_header if border is not None else raw
        return Change(fd, part, fresh, None if last else Border(new.file_id, old_header, stop))

    def _resealed(
        self,
        fd: int,
        size: int,
        header: FileHeader,
        old: FileKey,
        new: FileKey,
        first: int,
        stop: int,
        blocks: int,
        *,
        again: bool,
    ) -> tuple[list[tuple[int, Bytes]], list[tuple[int, Bytes]]]:
        """Old and new ciphertext of blocks ``first`` … ``stop``, holes left out."""
        if first >= stop:
            return [], []
        place = HEADER_BYTES + first * self._unit
        end = size if stop >= blocks else HEADER_BYTES + stop * self._unit
        stored = self._room("old", end - place, again=again)
        _read(fd, place, stored)
        out = self._room("new", len(stored) + AES_BLOCK_BYTES, again=again)
        stretch = Stretch(self._layout, self._cipher, header.sparse, first, blocks - 1)
        runs = reseal(stretch, old, new, stored, out)
        return (
            [(place + start, stored[start:end]) for start, end in runs],
            [(place + start, out[start:end]) for start, end in runs],
        )

    def _room(self, name: str, length: int, *, again: bool) -> memoryview:
        """Memory of that length; with ``again`` the same as at the last step."""
        if not again:
            return memoryview(bytearray(length))
        if len(self._rooms.get(name, b"")) < length:
            self._rooms[name] = bytearray(length)
        return memoryview(self._rooms[name])[:length]

    def _first_with_data(self, fd: int, first: int, blocks: int) -> int:
        """The first block from there on that is not in a hole of the backing store as a whole; the last one never is."""
        try:
            place = os.lseek(fd, HEADER_BYTES + first * self._unit, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return max(first, blocks - 1)
            if error.errno == errno.EINVAL:
                return first
            raise
        return max(first, min((place - HEADER_BYTES) // self._unit, blocks - 1))


def _halfway(header: FileHeader) -> FileHeader:
    return FileHeader(
        header.cipher, header.block_size, header.sparse, header.epoch, header.file_id, halfway=True
    )


def _read(fd: int, place: int, room: memoryview) -> None:
    done = 0
    while done < len(room):
        got = os.preadv(fd, [room[done:]], place + done)
        if not got:
            raise FileDamaged("the file is shorter than its length says")
        done += got
