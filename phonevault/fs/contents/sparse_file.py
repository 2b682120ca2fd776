"""One open file's space: reserving it, making holes, finding them.

The order is that of docs/format.md 4.1: a file is marked sparse, durably, before its first hole is made; the unit that holds
the last byte is never a hole. What of a range is no whole unit is overwritten with encrypted zeros.
"""

from __future__ import annotations

import errno
import os

from phonevault.fs.contents.content_file import ContentFile
from phonevault.fs.format.hole_map import HoleMap
from phonevault.fs.format.layout import Layout
from phonevault.fs.journal import Journal
from phonevault.fs.keys import TreeKeys
from phonevault.fs.syscalls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, fallocate

_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS)
_STAT_BLOCK_BYTES = 512
_ZEROS = memoryview(bytes(1 << 17))


class SparseFile(ContentFile):
    """Contents whose space is managed. Arguments as of :class:`ContentFile`; ranges are ``offset`` … ``end``, in bytes of plaintext."""

    def __init__(self, fd: int, layout: Layout, shared: bool = False, journal: Journal | None = None) -> None:
        super().__init__(fd, layout, shared, journal)
        self._holes = HoleMap(layout)

    @property
    def unit(self) -> int:
        """Bytes of the smallest hole."""
        return self._holes.unit

    # -- requests -----------------------------------------------------------------------------------------

    def reserve(
        self, keys: TreeKeys, offset: int, end: int, cipher: memoryview, plain: memoryview, *, grow: bool
    ) -> None:
        """Let later writes to the range find room; with ``grow`` the file is at least ``end`` bytes long after it.

        Raises:
            FileDamaged: the old last block does not open (``grow`` only).
            OSError: of the backing store (ENOSPC, EOPNOTSUPP, EFBIG); the contents are unchanged.
        """
        with self.lock:
            self._reserve(offset, end)
            if grow:
                self._grow(keys, end, cipher, plain)

    def punch(self, keys: TreeKeys, offset: int, end: int, cipher: memoryview, plain: memoryview) -> None:
        """Zeros that take no room, where the range covers whole units. The size stays.

        Raises:
            FileDamaged: old data that is needed does not open.
            OSError: of the backing store; EOPNOTSUPP if it has no holes.
        """
        with self.lock:
            self.settle()
            end = min(end, self.size())
            low, high = self._holes.whole_units(offset, end, self.size())
            if low < high:
                self._mark_sparse(keys)
                fallocate(self.fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, *self._holes.stored_range(low, high))
            self._zero_edges(keys, offset, end, low, high, cipher, plain)

    def zero(
        self, keys: TreeKeys, offset: int, end: int, cipher: memoryview, plain: memoryview, *, grow: bool
    ) -> None:
        """Zeros whose room is reserved.

        A backing store that cannot zero a range in one step is asked to make a hole and to reserve it again.

        Raises:
            FileDamaged, OSError: as :meth:`reserve` and :meth:`punch`.
        """
        with self.lock:
            self.settle()
            self._reserve(offset, end)
            inside = min(end, self.size())
            low, high = self._holes.whole_units(offset, inside, self.size())
            if low < high:
                self._mark_sparse(keys)
                self._zero_stored(*self._holes.stored_range(low, high))
            self._zero_edges(keys, offset, inside, low, high, cipher, plain)
            if grow:
                self._grow(keys, end, cipher, plain)

    def make_hole(self, keys: TreeKeys, offset: int, end: int, cipher: memoryview, plain: memoryview) -> None:
        """Zeros, the cheapest way there is; the file is at least ``end`` bytes long after it.

        Raises:
            FileDamaged, OSError: as :meth:`punch`, but never EOPNOTSUPP.
        """
        try:
            self.punch(keys, offset, end, cipher, plain)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            with self.lock:
                self._write_zeros(keys, offset, min(end, self.size()), cipher, plain)
        with self.lock:
            self._grow(keys, end, cipher, plain)

    def has_holes(self) -> bool:
        """Whether room is missing somewhere. Cheap; where room is reserved, holes may go unnoticed."""
        status = os.fstat(self.fd)
        return status.st_blocks * _STAT_BLOCK_BYTES < status.st_size

    def seek(self, keys: TreeKeys, offset: int, whence: int) -> int:
        """The next data (``os.SEEK_DATA``) or hole (``os.SEEK_HOLE``) at or behind ``offset``. A hole is never data.

        Raises:
            FileDamaged: the header does not open.
            OSError: ENXIO, ``offset`` is not inside the file.
        """
        with self.lock:
            total = self.size()
            if not 0 <= offset < total:
                raise OSError(errno.ENXIO, "beyond the end of the file")
            sparse = self._unlocked(keys)[0].sparse
            if whence == os.SEEK_DATA:
                return self._holes.next_data(offset, total, self._data_from) if sparse else offset
            return self._holes.next_hole(offset, total, self._data_from, self._hole_from) if sparse else total

    # -- under the lock -----------------------------------------------------------------------------------

    def _reserve(self, offset: int, end: int) -> None:
        for place, length in self._holes.reservation(offset, end, self.size()):
            fallocate(self.fd, FALLOC_KEEP_SIZE, place, length)

    def _grow(self, keys: TreeKeys, end: int, cipher: memoryview, plain: memoryview) -> None:
        if end > self.size():
            self._write(keys, end - 1, _ZEROS[:1], cipher, plain)

    def _zero_stored(self, place: int, length: int) -> None:
        try:
            fallocate(self.fd, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, place, length)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            fallocate(self.fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, place, length)
            fallocate(self.fd, FALLOC_KEEP_SIZE, place, length)

    def _zero_edges(
        self,
        keys: TreeKeys,
        offset: int,
        end: int,
        low: int,
        high: int,
        cipher: memoryview,
        plain: memoryview,
    ) -> None:
        """Zeros over what of ``offset`` … ``end`` is outside ``low`` … ``high``."""
        if low < high:
            self._write_zeros(keys, offset, low, cipher, plain)
            self._write_zeros(keys, high, end, cipher, plain)
        else:
            self._write_zeros(keys, offset, end, cipher, plain)

    def _write_zeros(
        self, keys: TreeKeys, offset: int, end: int, cipher: memoryview, plain: memoryview
    ) -> None:
        for start in range(offset, end, len(_ZEROS)):
            self._write(keys, start, _ZEROS[: end - start], cipher, plain)

    def _data_from(self, place: int) -> int | None:
        return self._backing_seek(place, os.SEEK_DATA)

    def _hole_from(self, place: int) -> int | None:
        return self._backing_seek(place, os.SEEK_HOLE)

    def _backing_seek(self, place: int, whence: int) -> int | None:
        try:
            return os.lseek(self.fd, place, whence)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
            raise
