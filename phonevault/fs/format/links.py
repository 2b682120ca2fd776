"""Symbolic links: a target sealed into the link itself, or, if it is too long, into a sidecar (docs/format.md 3). Pure."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from phonevault.fs.errors import LinkDamaged
from phonevault.fs.format.layout import OVERHEAD_BYTES
from phonevault.fs.format.names import b64decode, b64encode

TARGET_MAX_BYTES = 4095
"""Linux's limit of a link's target, and so of what a ciphertext link can hold, in characters."""
SHORT_MAX_BYTES = TARGET_MAX_BYTES * 3 // 4 - OVERHEAD_BYTES
"""A target up to this size is sealed into the link itself."""

DIRECTORY = "phonevault.links"
"""In the ciphertext of the root directory: the sidecars."""

_ID_BYTES = 16
_SIZE_BYTES = 2
_MARK = "."
_TEXT_CHARS = len(_MARK) + (_ID_BYTES + _SIZE_BYTES) * 4 // 3


@dataclass(frozen=True)
class LongLink:
    """What the text of a link with a long target says.

    Attributes:
        id: 16 random bytes, of this link alone.
        size: of the target, in bytes.
    """

    id: bytes
    size: int

    @classmethod
    def new(cls, target: bytes) -> LongLink:
        """For a link about to be made."""
        return cls(os.urandom(_ID_BYTES), len(target))

    @classmethod
    def of_sidecar(cls, name: str, size: int) -> LongLink:
        """For the sidecar of that name, with a target of that size.

        Raises:
            ValueError: it is no sidecar's name.
        """
        return cls(b64decode(name), size)

    @property
    def text(self) -> str:
        """The text of the ciphertext link."""
        return _MARK + b64encode(self.id + self.size.to_bytes(_SIZE_BYTES, "little"))

    @property
    def sidecar(self) -> str:
        """The sidecar's name in :data:`DIRECTORY`."""
        return b64encode(self.id)

    @property
    def associated_data(self) -> bytes:
        """Of the sealed target."""
        return b"long symlink" + self.id


def is_long(text: str) -> bool:
    """Whether the text of a ciphertext link names a sidecar; a sealed target holds no dot."""
    return text.startswith(_MARK)


def parse(text: str) -> LongLink:
    """Read the text of a link with a long target; strict.

    Raises:
        LinkDamaged: it is none.
    """
    try:
        raw = b64decode(text.removeprefix(_MARK))
    except ValueError:
        raise LinkDamaged("a symbolic link's text is damaged") from None
    size = int.from_bytes(raw[_ID_BYTES:], "little")
    if (
        not is_long(text)
        or len(raw) != _ID_BYTES + _SIZE_BYTES
        or not SHORT_MAX_BYTES < size <= TARGET_MAX_BYTES
    ):
        raise LinkDamaged("a symbolic link's text is not one of this format")
    return LongLink(raw[:_ID_BYTES], size)


def is_sidecar(stored: str) -> bool:
    """Whether a name can be that of a sidecar."""
    try:
        return len(b64decode(stored)) == _ID_BYTES
    except ValueError:
        return False


def may_be_long(status: os.stat_result) -> bool:
    """Whether an object can be a link with a long target: no sealed target is as short as such a link's text."""
    return status.st_size == _TEXT_CHARS and stat.S_ISLNK(status.st_mode)


def target_size(text_chars: int) -> int:
    """Size of the target that is sealed into a text of this length."""
    return max(text_chars * 3 // 4 - OVERHEAD_BYTES, 0)


def text_chars(target_bytes: int) -> int:
    """Length of the text that a target of this size is sealed into; inverse of :func:`target_size`."""
    return -(-(target_bytes + OVERHEAD_BYTES) * 4 // 3)
