"""What a rotation of contents keeps beside the tree (docs/format.md 1.8): the undo log, and the borders of files half done. No I/O.

Everything is under a MAC of the new volume key: what somebody else put there is not looked at.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from struct import Struct, error

from phonevault.fs.format.layout import HEADER_BYTES

DIRECTORY = "rotation"
"""Where it is kept, in VAULT."""
LOG = "undo"
ATTRIBUTE_LOG = "undo.attribute"
LINK_PREFIX = "link."
PAGE_BYTES = 4096
ID_BYTES = 16
MAC_BYTES = 32
NO_ID = bytes(ID_BYTES)

FILE, FOLDER, ATTRIBUTE = 1, 2, 3
"""Kinds of a part: a file's ciphertext; a directory's id and times; an extended attribute."""

MAX_LOG_BYTES = 1 << 28

_LOG_MAGIC = b"PVROTLG1"
_RECORD_MAGIC = b"PVROTRC1"
_LOG_HEAD = Struct("<8sQ")
_COUNT = Struct("<I")
_PART = Struct("<BQIqqQ16s16s16sHI")
"""kind, inode, mode, time of access, of modification, length, file id before and after, id of the border, its bytes, number of extents."""
_EXTENT = Struct("<QI")
_BORDER = Struct(f"<8s16s{HEADER_BYTES}sQ")
BORDER_BYTES = _BORDER.size + MAC_BYTES

Bytes = bytes | bytearray | memoryview


class RotationDamaged(ValueError):
    """Bytes that no rotation of this vault wrote, or not to the end."""


@dataclass(frozen=True)
class Part:
    """One object in the undo log: what it was before.

    Attributes:
        kind: ``FILE``, ``FOLDER`` or ``ATTRIBUTE``.
        inode: of the object.
        mode: permission bits.
        atime_ns: time of access.
        mtime_ns: time of modification.
        size: length of a ciphertext file, which stays.
        before: file id in its header before.
        after: file id in its header after.
        border_id: the new file id of a file that is done in several steps; else zeros.
        border: bytes of its border before the step; empty if there was none.
        extents: offsets, and the bytes there. Of an attribute: its name, then its value.
    """

    kind: int
    inode: int
    mode: int
    atime_ns: int
    mtime_ns: int
    size: int = 0
    before: bytes = NO_ID
    after: bytes = NO_ID
    border_id: bytes = NO_ID
    border: bytes = b""
    extents: list[tuple[int, Bytes]] = field(default_factory=list)

    def packed(self) -> Iterator[Bytes]:
        """Its bytes, in pieces."""
        yield _PART.pack(
            self.kind, self.inode, self.mode, self.atime_ns, self.mtime_ns, self.size, self.before, self.after,
            self.border_id, len(self.border), len(self.extents),
        )  # fmt: skip
        yield self.border
        for offset, old in self.extents:
            yield _EXTENT.pack(offset, len(old))
            yield old


def pack_log(key: Bytes, parts: list[Part]) -> tuple[bytes, list[Bytes]]:
    """The first page of an undo log, and what follows it.

    Args:
        key: 32 bytes, of the new volume key.
        parts: what is about to be changed.
    """
    body: list[Bytes] = [_COUNT.pack(len(parts))]
    for part in parts:
        body += part.packed()
    head = _LOG_HEAD.pack(_LOG_MAGIC, sum(map(len, body)))
    return (head + _mac(key, [head, *body])).ljust(PAGE_BYTES, b"\0"), body


def log_length(page: bytes) -> int:
    """Length of what follows the first page; 0 if nothing is in the log."""
    if len(page) < _LOG_HEAD.size + MAC_BYTES:
        return 0
    magic, length = _LOG_HEAD.unpack_from(page)
    return length if magic == _LOG_MAGIC and length <= MAX_LOG_BYTES else 0


def parse_log(key: Bytes, page: bytes, body: bytes) -> list[Part]:
    """Read an undo log.

    Raises:
        RotationDamaged: it was not written to the end, so nothing was changed yet; or by somebody else.
    """
    head = page[: _LOG_HEAD.size]
    mac = page[_LOG_HEAD.size : _LOG_HEAD.size + MAC_BYTES]
    if log_length(page) != len(body) or not hmac.compare_digest(mac, _mac(key, [head, body])):
        raise RotationDamaged("the undo log was not written to the end")
    try:
        return list(_parts(body))
    except error:
        raise RotationDamaged("the undo log breaks its format") from None


def _parts(body: bytes) -> Iterator[Part]:
    (count,) = _COUNT.unpack_from(body)
    view, at = memoryview(body), _COUNT.size
    for _ in range(count):
        kind, inode, mode, atime, mtime, size, before, after, border_id, border_bytes, extents = (
            _PART.unpack_from(body, at)
        )
        at += _PART.size
        border = bytes(view[at : at + border_bytes])
        part = Part(kind, inode, mode, atime, mtime, size, before, after, border_id, border)
        at += border_bytes
        for _ in range(extents):
            offset, length = _EXTENT.unpack_from(body, at)
            at += _EXTENT.size
            part.extents.append((offset, view[at : at + length]))
            at += length
        yield part
    if at != len(body):
        raise RotationDamaged("the undo log has another length than its parts")


@dataclass(frozen=True)
class Border:
    """How far a file is that is encrypted anew in several steps.

    Attributes:
        file_id: the new one, in the file's header.
        old_header: the 128 bytes that it had before.
        blocks: so many are under the new key; those behind, under the old one.
    """

    file_id: bytes
    old_header: bytes
    blocks: int

    def packed(self, key: Bytes) -> bytes:
        """Its bytes, under the MAC."""
        raw = _BORDER.pack(_RECORD_MAGIC, self.file_id, self.old_header, self.blocks)
        return raw + _mac(key, [raw])


def parse_border(key: Bytes, raw: bytes) -> Border:
    """Read a border.

    Raises:
        RotationDamaged: its MAC is wrong.
    """
    if len(raw) != BORDER_BYTES or not hmac.compare_digest(
        raw[_BORDER.size :], _mac(key, [raw[: _BORDER.size]])
    ):
        raise RotationDamaged("the border of a file half done is damaged, or of another rotation")
    _, file_id, old_header, blocks = _BORDER.unpack_from(raw)
    return Border(file_id, old_header, blocks)


def _mac(key: Bytes, pieces: Iterable[Bytes]) -> bytes:
    """HMAC-SHA256. Log and border begin with different magic numbers."""
    mac = hmac.new(bytes(key), digestmod="sha256")
    for piece in pieces:
        mac.update(piece)
    return mac.digest()
