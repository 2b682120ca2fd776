"""The journal file of a mount (docs/format.md 5): what a change replaces, kept until the change is whole. No I/O.

A file is a page that says whose it is, then slots. A slot is a page with a state and a record, and an area for the ciphertext
that is about to be replaced.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass
from struct import Struct

DIRECTORY = "journal"
"""Where a vault's journal files are."""
PAGE_BYTES = 4096
FILE_NAME = re.compile(r"[0-9a-f]{16}")
FILE_ID_BYTES = 16
FREE, UNDER_WAY, GOING_BACK = 0, 1, 2
"""State of a slot, its first byte: nothing is being changed; the change of its record is; that change is being undone."""

_MAGIC = b"PVJOURN1"
_OWNER = Struct("<8sIIQ16s16s")
"""magic, number of slots, bytes of an area, inode of the journal file itself, host, boot."""
_RECORD = Struct("<QQQII16s16s")
"""inode, offset, size, bytes of the old ciphertext, of the new one's beginning; file id, that beginning."""
_RECORD_AT = 64
_HEAD_BYTES = 16
_MARK_BYTES = 16
_MAX_SLOTS = 64
_MAX_AREA_BYTES = 64 << 20
_MAX_OFFSET = (1 << 63) - 1


class JournalDamaged(ValueError):
    """Bytes that no journal has."""


@dataclass(frozen=True)
class Owner:
    """First page of a journal file.

    Attributes:
        slots: how many there are.
        area_bytes: of a slot's area; whole pages.
        inode: of the journal file itself: a copy of it is no journal.
        host: mark of the machine, 16 bytes.
        boot: mark of that machine's run since it was started, 16 bytes.
    """

    slots: int
    area_bytes: int
    inode: int
    host: bytes
    boot: bytes

    @property
    def file_bytes(self) -> int:
        """Length of the journal file."""
        return self.slot_at(self.slots)

    def slot_at(self, number: int) -> int:
        """Where a slot begins in the file; its area begins one page behind."""
        return PAGE_BYTES + number * (PAGE_BYTES + self.area_bytes)

    def packed(self) -> bytes:
        """The first page."""
        raw = _OWNER.pack(_MAGIC, self.slots, self.area_bytes, self.inode, self.host, self.boot)
        return (raw + zlib.crc32(raw).to_bytes(4, "little")).ljust(PAGE_BYTES, b"\0")


@dataclass(frozen=True, slots=True)
class Record:
    """One change of one ciphertext file.

    Attributes:
        inode: of the file.
        offset: where the change begins in it.
        size: its length before the change.
        old_bytes: how much of the old ciphertext, from ``offset``, is in the slot's area.
        file_id: from its header.
        head: how the new ciphertext begins: at most 16 bytes, all in one page of the file.
        going_back: the change failed: a part of the old ciphertext may be back already.
    """

    inode: int
    offset: int
    size: int
    old_bytes: int
    file_id: bytes
    head: bytes
    going_back: bool


def parse_owner(page: bytes) -> Owner:
    """Read the first page; strict.

    Raises:
        JournalDamaged: it is none, or out of bounds.
    """
    if len(page) != PAGE_BYTES:
        raise JournalDamaged("a journal without its first page")
    magic, slots, area_bytes, inode, host, boot = _OWNER.unpack_from(page)
    owner = Owner(slots, area_bytes, inode, host, boot)
    if magic != _MAGIC or not 1 <= slots <= _MAX_SLOTS:
        raise JournalDamaged("not a journal of this version")
    if not 0 < area_bytes <= _MAX_AREA_BYTES or area_bytes % PAGE_BYTES:
        raise JournalDamaged("a journal with areas of an impossible length")
    if owner.packed() != page:
        raise JournalDamaged("a journal's first page is damaged")
    return owner


def pack_record(
    page: memoryview, inode: int, offset: int, size: int, old_bytes: int, file_id: bytes, new: memoryview
) -> None:
    """Write the record of a change into a slot's page: fields as of :class:`Record`, and the new ciphertext.

    It counts only once the slot's state says so.
    """
    room = PAGE_BYTES - offset % PAGE_BYTES
    head = bytes(new[: _HEAD_BYTES if room > _HEAD_BYTES else room])
    _RECORD.pack_into(page, _RECORD_AT, inode, offset, size, old_bytes, len(head), file_id, head)


def parse_slot(page: bytes, area_bytes: int) -> Record | None:
    """The record of a slot; None if nothing was being changed.

    Raises:
        JournalDamaged: an unknown state, or a value out of bounds.
    """
    if len(page) != PAGE_BYTES or page[0] > GOING_BACK:
        raise JournalDamaged("a slot in an unknown state")
    if page[0] == FREE:
        return None
    inode, offset, size, old_bytes, head_bytes, file_id, head = _RECORD.unpack_from(page, _RECORD_AT)
    record = Record(inode, offset, size, old_bytes, file_id, head[:head_bytes], page[0] == GOING_BACK)
    if record.old_bytes > area_bytes or not 0 < head_bytes <= _HEAD_BYTES or any(head[head_bytes:]):
        raise JournalDamaged("a record beyond its area, or without a beginning")
    if record.size > _MAX_OFFSET or record.offset > _MAX_OFFSET:
        raise JournalDamaged("a record beyond every file")
    if record.old_bytes and record.offset + record.old_bytes > record.size:
        raise JournalDamaged("a record of bytes that the file did not have")
    return record


def mark(name: str, *secrets: bytes) -> bytes:
    """Mark of a machine, or of its run, in the journal file of that name: it tells equal from unequal, and nothing else."""
    digest = hashlib.blake2b(digest_size=_MARK_BYTES, key=name.encode("ascii"))
    for part in secrets:
        digest.update(len(part).to_bytes(2, "little") + part)
    return digest.digest()
