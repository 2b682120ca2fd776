"""POSIX access control lists (withdrawn IEEE 1003.1e draft 17, section 23; Linux's posix_acl.c): arithmetic alone.

In the outside form a list is what Linux passes as the value of ``system.posix_acl_access`` and ``system.posix_acl_default``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from struct import Struct


class Tag(IntEnum):
    """``e_tag`` (linux/posix_acl.h)."""

    USER_OBJ = 0x01
    USER = 0x02
    GROUP_OBJ = 0x04
    GROUP = 0x08
    MASK = 0x10
    OTHER = 0x20


_VERSION = 2
_HEAD = Struct("<I")
_ENTRY = Struct("<HHI")
_NO_ID = 0xFFFFFFFF
_NAMED = (Tag.USER, Tag.GROUP)
_ALL = 0o7


class AclInvalid(ValueError):
    """The bytes are no access control list."""


@dataclass(frozen=True)
class Entry:
    """One line of a list.

    Attributes:
        tag: whom it is about.
        perm: read 4, write 2, execute 1.
        id: the user or group of a named entry; 2^32 − 1 in the others.
    """

    tag: Tag
    perm: int
    id: int = _NO_ID


@dataclass(frozen=True)
class Acl:
    """A valid list: entries in the order of their tags, one owner, one group, one mask if there are named entries, one other."""

    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        tags = [entry.tag for entry in self.entries]
        single = [tag for tag in Tag if tag not in _NAMED and tag in tags]
        required = {Tag.USER_OBJ, Tag.GROUP_OBJ, Tag.OTHER}
        if any(tag in tags for tag in _NAMED):
            required.add(Tag.MASK)
        if tags != sorted(tags) or not required <= set(tags) or any(tags.count(tag) != 1 for tag in single):
            raise AclInvalid("an access control list lacks an entry, has one twice, or is not in order")
        if any(entry.perm & ~_ALL for entry in self.entries):
            raise AclInvalid("an entry grants what there is not")
        if any((entry.id == _NO_ID) == (entry.tag in _NAMED) for entry in self.entries):
            raise AclInvalid("an entry has an id where none belongs, or lacks one")

    @property
    def is_minimal(self) -> bool:
        """Whether the mode says all of it."""
        return len(self.entries) == len((Tag.USER_OBJ, Tag.GROUP_OBJ, Tag.OTHER))

    def perm(self, tag: Tag) -> int | None:
        """Permissions of the one entry with this tag, None if there is none."""
        return next((entry.perm for entry in self.entries if entry.tag is tag), None)

    def mode(self) -> int:
        """The nine permission bits that stand for it: those of the group are the mask's (``posix_acl_equiv_mode``)."""
        return self._bits(Tag.USER_OBJ) << 6 | self._bits(self._group_class) << 3 | self._bits(Tag.OTHER)

    def mode_without(self) -> int:
        """The widest permission bits that grant nobody more than it, for an object that cannot carry it.

        A named user or group may be refused something, so that all in its class can only be granted what no entry lacks.
        """
        named = [entry.perm for entry in self.entries if entry.tag in _NAMED]
        group, other = self._bits(Tag.GROUP_OBJ) & self._bits(self._group_class), self._bits(Tag.OTHER)
        for perm in named:
            group &= perm
            other &= perm & self._bits(Tag.MASK)
        return self._bits(Tag.USER_OBJ) << 6 | group << 3 | other

    def with_mode(self, mode: int) -> Acl:
        """What chmod makes of it (``posix_acl_chmod``)."""
        perms = {Tag.USER_OBJ: mode >> 6 & _ALL, self._group_class: mode >> 3 & _ALL, Tag.OTHER: mode & _ALL}
        return self._replaced(perms)

    def for_new_object(self, mode: int) -> Acl:
        """The access list of an object made with this mode in a directory that has this default list (``posix_acl_create``)."""
        asked = {Tag.USER_OBJ: mode >> 6, self._group_class: mode >> 3, Tag.OTHER: mode}
        return self._replaced({tag: self._bits(tag) & perm & _ALL for tag, perm in asked.items()})

    @property
    def _group_class(self) -> Tag:
        """The entry that the mode's group bits stand for."""
        return Tag.GROUP_OBJ if self.perm(Tag.MASK) is None else Tag.MASK

    def _bits(self, tag: Tag) -> int:
        return self.perm(tag) or 0

    def _replaced(self, perms: dict[Tag, int]) -> Acl:
        return Acl(tuple(replace(entry, perm=perms.get(entry.tag, entry.perm)) for entry in self.entries))


def parse(raw: bytes | memoryview) -> Acl:
    """A list from its outside form; strict.

    Raises:
        AclInvalid: another version, a length that does not fit, an unknown tag, or a list that breaks the rules.
    """
    if (
        len(raw) < _HEAD.size
        or (len(raw) - _HEAD.size) % _ENTRY.size
        or _HEAD.unpack_from(raw)[0] != _VERSION
    ):
        raise AclInvalid("not an access control list of version 2")
    entries = []
    for tag, perm, number in _ENTRY.iter_unpack(raw[_HEAD.size :]):
        try:
            known = Tag(tag)
        except ValueError:
            raise AclInvalid("an entry has an unknown tag") from None
        entries.append(Entry(known, perm, number if known in _NAMED else _NO_ID))
    return Acl(tuple(entries))


def pack(entries: Iterable[Entry]) -> bytes:
    """The outside form."""
    return _HEAD.pack(_VERSION) + b"".join(_ENTRY.pack(entry.tag, entry.perm, entry.id) for entry in entries)
