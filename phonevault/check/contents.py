"""One regular file: its header, its length, and every block, read as a mount reads it.

One thread: with two, each decryption of 4 KiB gives up the interpreter's lock to the other, and both together are slower
than one (measured: 1.5 to 1.8 GB/s against 2.7). The kernel reads ahead meanwhile.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from phonevault.check.findings import Code, Flaw
from phonevault.check.keys import CheckKeys
from phonevault.fs.contents.sparse_file import SparseFile
from phonevault.fs.core import CIPHERS
from phonevault.fs.errors import FileDamaged
from phonevault.fs.format.file_header import (
    CIPHER_GCM,
    CIPHER_XTS,
    KEY_BYTES,
    FileHeader,
    open_header,
    parse_header,
)
from phonevault.fs.format.hole_map import HoleMap
from phonevault.fs.format.layout import AES_BLOCK_BYTES, HEADER_BYTES, PAGE_BYTES
from phonevault.fs.journal import volatile_journal
from phonevault.fs.keys import TreeKeys

_CHUNK_BYTES = 1 << 20
_RANGES_SHOWN = 8
_STAT_BLOCK_BYTES = 512
_END_BIT = 1
_ZERO_PAGE = bytes(PAGE_BYTES)


@dataclass
class Blocks:
    """Numbers of bad blocks, as ranges; counted all, the first few kept."""

    count: int = 0
    ranges: list[list[int]] = field(default_factory=list)

    def add(self, first: int, last: int) -> None:
        """Add blocks `first` to `last`, in ascending order."""
        self.count += last - first + 1
        if self.ranges and self.ranges[-1][1] == first - 1:
            self.ranges[-1][1] = last
        elif len(self.ranges) <= _RANGES_SHOWN:
            self.ranges.append([first, last])

    def text(self, total: int) -> str:
        """Which, of how many."""
        shown = [str(low) if low == high else f"{low}-{high}" for low, high in self.ranges[:_RANGES_SHOWN]]
        more = ", ..." if len(self.ranges) > _RANGES_SHOWN else ""
        return f"{self.count} of {total}: {', '.join(shown)}{more}"


@dataclass(frozen=True)
class Checked:
    """What is known of a file after its check.

    Attributes:
        flaws: what is wrong with it.
        file_id: 16 bytes; None without a header that opens.
    """

    flaws: list[Flaw]
    file_id: bytes | None = None


class ContentChecker:
    """Checks files one after the other, with the same buffers.

    Args:
        keys: of all live epochs.
        cipher: of the vault, by its name in the header.
        block_size: of the vault, in bytes.
        progress: told of every piece that was looked at, in bytes.
    """

    def __init__(
        self, keys: CheckKeys, cipher: str, block_size: int, progress: Callable[[int], None]
    ) -> None:
        layout, self._content_file = CIPHERS[cipher]
        self._keys, self.progress = keys, progress
        self._layout = layout(block_size)
        self._cipher_id = self._content_file.cipher_id
        self._journal = volatile_journal(PAGE_BYTES)  # nothing is written
        self._holes = HoleMap(self._layout)
        scratch = self._layout.scratch_bytes(max(_CHUNK_BYTES, block_size))
        self._cipher = memoryview(bytearray(scratch))
        self._plain = memoryview(bytearray(scratch))

    def wipe(self) -> None:
        """Overwrite what was decrypted last."""
        self._plain[:] = bytes(len(self._plain))

    def check(self, fd: int, status: os.stat_result) -> Checked:
        """Check one file.

        Args:
            fd: open for reading.
            status: of it.
        """
        if status.st_size == 0:
            return Checked([])
        try:
            raw = os.pread(fd, HEADER_BYTES, 0)
        except OSError as error:
            return Checked([_unreadable(error, "the header")])
        found = self._header(raw)
        if isinstance(found, Flaw):
            return Checked([found])
        header, keys = found
        if status.st_size == HEADER_BYTES:
            return Checked([Flaw(Code.FILE_HEADER_ALONE)], header.file_id)
        flaws = []
        if self._layout.torn(status.st_size):
            flaws.append(Flaw(Code.FILE_LENGTH_TORN, f"{status.st_size} bytes of ciphertext"))
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        content = self._content_file(fd, self._layout, journal=self._journal)
        try:
            flaws += _Scan(self, content, header, keys, status).run()
        finally:
            content.wipe()
        return Checked(flaws, header.file_id)

    def is_ours(self, fd: int) -> bool:
        """Whether a file has a header of this vault."""
        try:
            return not isinstance(self._header(os.pread(fd, HEADER_BYTES, 0)), Flaw)
        except OSError:
            return False

    def _header(self, raw: bytes) -> tuple[FileHeader, TreeKeys] | Flaw:
        """The header and the keys it opens with, or what is wrong with it."""
        try:
            header = parse_header(raw)
        except FileDamaged as error:
            return Flaw(Code.FILE_HEADER_DAMAGED, error.strerror or "")
        if (header.cipher, header.block_size) != (self._cipher_id, self._layout.block_size):
            return Flaw(Code.FILE_CIPHER_OTHER, f"cipher {header.cipher}, {header.block_size} bytes")
        keys = self._keys.by_epoch.get(header.epoch)
        if keys is None:
            return Flaw(Code.FILE_EPOCH_GONE, f"epoch {header.epoch}")
        slot = keys.arena.take()
        try:
            open_header(raw, header, keys.file_keys, slot[: KEY_BYTES[header.cipher]])
        except FileDamaged:
            return Flaw(Code.FILE_KEY_DAMAGED)
        finally:
            keys.arena.give_back(slot)
        return header, keys


class _Scan:
    """The blocks of one file."""

    def __init__(
        self,
        checker: ContentChecker,
        content: SparseFile,
        header: FileHeader,
        keys: TreeKeys,
        status: os.stat_result,
    ) -> None:
        self._content, self._header, self._keys = content, header, keys
        self._progress = checker.progress
        self._cipher, self._plain = checker._cipher, checker._plain
        self._layout, self._holes = checker._layout, checker._holes
        self._length = status.st_size
        self._total = self._layout.plain_size(status.st_size)
        self._may_have_holes = status.st_blocks * _STAT_BLOCK_BYTES < status.st_size
        self._bad: dict[Code, Blocks] = {}
        self._error = ""

    def run(self) -> list[Flaw]:
        """Look at every block, holes of the backing store left out."""
        unit, offset = self._holes.unit, 0
        while offset < self._total:
            start, stop = self._extent(offset)
            if start > offset and not self._header.sparse:
                self._add(Code.BLOCK_ZEROED, offset // unit, start // unit - 1)
            for place in range(start, stop, _CHUNK_BYTES):
                self._chunk(place, min(place + _CHUNK_BYTES, stop))
            offset = stop
        if self._header.cipher == CIPHER_XTS:
            self._filler()
        total = -(-self._total // unit)
        return [
            Flaw(code, " ".join(filter(None, (blocks.text(total), self._reason(code)))))
            for code, blocks in self._bad.items()
        ]

    def _reason(self, code: Code) -> str:
        return f"({self._error})" if code is Code.READ_ERROR else ""

    def _extent(self, offset: int) -> tuple[int, int]:
        """The next data at or behind `offset`, and where it ends."""
        if not self._may_have_holes:
            return offset, self._total
        start = self._holes.next_data(offset, self._total, self._data_from)
        stop = self._holes.next_hole(start, self._total, self._data_from, self._hole_from)
        return start, min(max(stop, start + self._holes.unit), self._total)

    def _data_from(self, place: int) -> int | None:
        return _seek(self._content.fd, place, os.SEEK_DATA)

    def _hole_from(self, place: int) -> int | None:
        return _seek(self._content.fd, place, os.SEEK_HOLE)

    def _add(self, code: Code, first: int, last: int) -> None:
        self._bad.setdefault(code, Blocks()).add(first, last)

    def _chunk(self, start: int, stop: int) -> None:
        if self._header.cipher == CIPHER_GCM:
            self._gcm_chunk(start, stop)
        else:
            self._xts_chunk(start, stop)
        self._progress(stop - start)

    # -- AES-256-GCM --------------------------------------------------------------------------------------

    def _gcm_chunk(self, start: int, stop: int) -> None:
        """All blocks in one read; if one is bad, each by itself."""
        try:
            self._content.read(self._keys, start, stop - start, self._cipher, self._plain)
        except OSError:
            size = self._layout.block_size
            for place in range(start - start % size, stop, size):
                self._gcm_block(place // size)

    def _gcm_block(self, block: int) -> None:
        size = self._layout.block_size
        try:
            self._content.read(self._keys, block * size, size, self._cipher, self._plain)
        except FileDamaged:
            self._add(self._verdict(block), block, block)
        except OSError as error:
            self._error = _strerror(error)
            self._add(Code.READ_ERROR, block, block)

    def _verdict(self, block: int) -> Code:
        """What is wrong with a block that does not open."""
        try:
            stored = os.pread(self._content.fd, self._layout.cipher_block, self._layout.offset_of(block))
        except OSError as error:
            self._error = _strerror(error)
            return Code.READ_ERROR
        if not any(stored):
            return Code.BLOCK_ZEROED
        is_last = block == (self._total - 1) // self._layout.block_size
        return Code.FILE_CUT if is_last and not stored[0] & _END_BIT else Code.BLOCK_DAMAGED

    # -- AES-256-XTS --------------------------------------------------------------------------------------

    def _xts_chunk(self, start: int, stop: int) -> None:
        """There is nothing to verify: that it can be read, and that no page is zero where there are no holes."""
        view = self._cipher[: stop - start]
        try:
            got = os.preadv(self._content.fd, [view], HEADER_BYTES + start)
        except OSError:
            for place in range(start, stop, PAGE_BYTES):
                self._xts_page(place)
            return
        if not self._header.sparse:
            for place in range(0, got - PAGE_BYTES + 1, PAGE_BYTES):
                if not view[place] and bytes(view[place : place + PAGE_BYTES]) == _ZERO_PAGE:
                    page = (start + place) // PAGE_BYTES
                    self._add(Code.BLOCK_ZEROED, page, page)

    def _xts_page(self, place: int) -> None:
        page = place // PAGE_BYTES
        try:
            stored = os.pread(self._content.fd, PAGE_BYTES, HEADER_BYTES + place)
        except OSError as error:
            self._error = _strerror(error)
            self._add(Code.READ_ERROR, page, page)
            return
        if stored == _ZERO_PAGE and not self._header.sparse:
            self._add(Code.BLOCK_ZEROED, page, page)

    def _filler(self) -> None:
        """The zeros that tell the length of a file that ends inside a 16-byte block (docs/format.md 4.2)."""
        if self._layout.torn(self._length):
            return
        rest = (self._length - HEADER_BYTES) % AES_BLOCK_BYTES
        try:
            stored = os.pread(self._content.fd, rest, self._length - rest) if rest else b""
        except OSError:
            return
        if any(stored):
            page = (self._total - 1) // PAGE_BYTES
            self._add(Code.FILE_END_DAMAGED, page, page)


def _seek(fd: int, place: int, whence: int) -> int | None:
    try:
        return os.lseek(fd, place, whence)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise


def _strerror(error: OSError) -> str:
    return os.strerror(error.errno or errno.EIO)


def _unreadable(error: OSError, what: str) -> Flaw:
    return Flaw(Code.READ_ERROR, f"{what}: {_strerror(error)}")
