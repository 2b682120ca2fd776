"""Which header of which vault this phone has seen last: STORE/anchors.json as values, and the judgement of a header. No I/O.

docs/protocol.md 8.1, docs/phone-store.md.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace
from enum import Enum

from phone_link.phone import strict_json
from phone_link.phone.errors import StoreDamaged, UnknownVault
from phone_link.phone.store_format import check_version
from phone_link.phone.strict_json import Fields

FORMAT = "phonevault-phone-anchors"
VERSION = 1
WHAT = "anchors.json"
MAX_ANCHORS = 256
VAULT_ID_BYTES = 16
MAC_BYTES = 32
TAG_BYTES = 32
MAX_GENERATION = 2**53 - 1
MIN_PREFIX = 4
"""Fewest characters of a vault's id that name it on the command line."""


@dataclass(frozen=True)
class Shown:
    """A header as a computer shows it.

    Attributes:
        vault_id: 16 bytes.
        generation: 1 … 2^53 - 1.
        mac: the header's, 32 bytes.
    """

    vault_id: bytes
    generation: int
    mac: bytes


@dataclass(frozen=True)
class Anchor:
    """What is remembered of one vault.

    Attributes:
        shown: its newest header.
        tag: 32 bytes that only who has opened the vault knows; the same for all its headers.
        seen: when this header came, UTC.
        accept: the user said that the next header is to be taken, whatever it is.
    """

    shown: Shown
    tag: bytes
    seen: str
    accept: bool = False

    @property
    def vault_id(self) -> bytes:
        """16 bytes."""
        return self.shown.vault_id

    def has_tag(self, tag: bytes) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self.tag, tag)

    def as_json(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "accept": self.accept,
            "generation": self.shown.generation,
            "mac": self.shown.mac.hex(),
            "seen": self.seen,
            "tag": self.tag.hex(),
            "vault_id": self.shown.vault_id.hex(),
        }

    @classmethod
    def parse(cls, fields: Fields) -> Anchor:
        """Take the JSON form."""
        shown = Shown(
            fields.octets("vault_id", VAULT_ID_BYTES),
            fields.integer("generation", 1, MAX_GENERATION),
            fields.octets("mac", MAC_BYTES),
        )
        anchor = cls(
            shown, fields.octets("tag", TAG_BYTES), fields.string("seen", 20), fields.boolean("accept")
        )
        fields.finish()
        return anchor


class Verdict(Enum):
    """A header beside the one that is remembered."""

    UNKNOWN = 0
    NEWER = 1
    KNOWN = 2
    OLDER = 3
    FORKED = 4


def judge(anchor: Anchor | None, shown: Shown) -> Verdict:
    """Return what a header is to a phone that remembers `anchor` of its vault."""
    if anchor is None:
        return Verdict.UNKNOWN
    if shown.generation != anchor.shown.generation:
        return Verdict.NEWER if shown.generation > anchor.shown.generation else Verdict.OLDER
    return Verdict.KNOWN if hmac.compare_digest(shown.mac, anchor.shown.mac) else Verdict.FORKED


@dataclass(frozen=True)
class Anchors:
    """All of anchors.json: by vault id, ascending."""

    anchors: tuple[Anchor, ...] = ()

    def of(self, vault_id: bytes) -> Anchor | None:
        """Return what is remembered of a vault, or None."""
        return next((anchor for anchor in self.anchors if anchor.vault_id == vault_id), None)

    def named(self, text: str) -> Anchor:
        """Return the only anchor whose vault's id (hex) begins so; `UnknownVault` if not just one does."""
        wanted = text.lower()
        found = [anchor for anchor in self.anchors if anchor.vault_id.hex().startswith(wanted)]
        if len(wanted) < MIN_PREFIX or len(found) != 1:
            raise UnknownVault("this phone remembers no vault with that id, or several")
        return found[0]

    def with_anchor(self, anchor: Anchor) -> Anchors:
        """Return them with `anchor` in the place of its vault's."""
        others = self.without(anchor.vault_id).anchors
        return Anchors(tuple(sorted((*others, anchor), key=lambda found: found.vault_id)))

    def without(self, vault_id: bytes) -> Anchors:
        """Return them without a vault's."""
        return replace(self, anchors=tuple(found for found in self.anchors if found.vault_id != vault_id))

    def encode(self) -> bytes:
        """Return the file's bytes."""
        listed = [anchor.as_json() for anchor in self.anchors]
        return strict_json.encode({"anchors": listed, "format": FORMAT, "version": VERSION})

    @classmethod
    def parse(cls, data: bytes) -> Anchors:
        """Parse the file's bytes.

        Raises:
            StoreDamaged: not canonical, a member missing, unknown or out of bounds, not ascending.
            StoreTooNew: another format version.
        """
        fields = strict_json.decode(data, WHAT)
        check_version(fields, FORMAT, WHAT)
        listed = tuple(Anchor.parse(Fields(entry, WHAT)) for entry in fields.items("anchors", MAX_ANCHORS))
        fields.finish()
        ids = [anchor.vault_id for anchor in listed]
        if ids != sorted(set(ids)):
            raise StoreDamaged(f"{WHAT} is damaged (vaults out of order)")
        return cls(listed)
