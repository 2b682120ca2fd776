"""The header as data (docs/format.md 1.2, 1.3) and its strict schema. Pure; the file is in `envelope`."""

from __future__ import annotations

import datetime
import itertools
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from . import canonical
from .errors import HeaderTampered, HeaderTooNew
from .schema import SchemaError, array, exact_hex, integer, members, string
from .slots import passphrase, phone, phone_passphrase, phones, recovery
from .slots.passphrase import PassphraseKem
from .slots.phone import PhoneKem
from .slots.phone_passphrase import PhonePassphraseKem
from .slots.phones import PhonesKem
from .slots.recovery import RecoveryKem

FORMAT = "phonevault"
VERSION = 1
FLAG_OF_KIND = {PhonesKem.kind: "phones"}
"""Feature flags of kinds of slots: set exactly as long as there is such a slot."""
CONTENT_ROTATION = "content-rotation"
"""Set while everything is encrypted anew under the current epoch: names may be under that of `names` or the current one."""
ANCHORED = "anchor"
"""Set as long as the header has the vault's tag: its key of names is not the one that the tag follows from any more."""
FLAGS = frozenset((*FLAG_OF_KIND.values(), CONTENT_ROTATION, ANCHORED))
"""Feature flags this version knows."""

VAULT_ID_BYTES = 16
VMK_BYTES = 32
WRAPPED_BYTES = VMK_BYTES + 16
NONCE_BYTES = 12
ANCHOR_BYTES = NONCE_BYTES + 32 + 16
MAC_BYTES = 32
MAX_SLOTS = 32
MAX_EPOCH = 2**32 - 1
MAX_LIVE_EPOCHS = 16
MAX_GENERATION = canonical.MAX_INTEGER
MAX_LABEL = 64
MAX_TOTAL_WORK_KIB = 32 * 1024 * 1024
"""Bound of memory × iterations over all passphrase slots, in KiB: one passphrase may be tried on each."""

BLOCK_SIZES = {
    "aes-256-gcm": tuple(1 << n for n in range(12, 17)),
    "aes-256-xts": tuple(1 << n for n in range(12, 21)),
}
"""Permitted block sizes of each cipher, in bytes of plaintext."""

Kem = PhoneKem | PassphraseKem | RecoveryKem | PhonePassphraseKem | PhonesKem

_PARSE_KEM: dict[str, Callable[[object], Kem]] = {
    PhoneKem.kind: phone.parse,
    PassphraseKem.kind: passphrase.parse,
    RecoveryKem.kind: recovery.parse,
    PhonePassphraseKem.kind: phone_passphrase.parse,
    PhonesKem.kind: phones.parse,
}
_CREATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
# Controls, line separators, bidirectional marks: a fixed list, not a property that grows with Unicode.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_HEADER_MEMBERS = (
    "format",
    "version",
    "flags",
    "vault_id",
    "generation",
    "created",
    "cipher",
    "block_size",
    "epochs",
    "slots",
)


@dataclass(frozen=True, slots=True)
class Epochs:
    """Volume-key epochs.

    Attributes:
        current: new file keys are wrapped under it.
        names: names, links and extended attributes are encrypted under it.
        files: the oldest that a file key may be wrapped under; a rotation is under way as long as it is not `current`.
        live: ascending; every slot has their keys.
    """

    current: int
    names: int
    files: int
    live: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the member `epochs`."""
        return {"current": self.current, "files": self.files, "live": list(self.live), "names": self.names}


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """The volume master key of one epoch, wrapped for one slot (nonce 12, ciphertext ‖ tag 48 bytes)."""

    epoch: int
    nonce: bytes
    wrapped: bytes

    def to_json(self) -> dict[str, Any]:
        """Return the member of `keys`."""
        return {"epoch": self.epoch, "nonce": self.nonce.hex(), "wrapped": self.wrapped.hex()}


@dataclass(frozen=True, slots=True)
class Slot:
    """One way into the vault.

    Attributes:
        id: 0 … 31, unique in a header.
        label: for people, at most 64 characters.
        created: UTC, `YYYY-MM-DDThh:mm:ssZ`.
        kem: public part, its class is the kind.
        keys: one wrapped volume key for each live epoch, ascending.
    """

    id: int
    label: str
    created: str
    kem: Kem
    keys: tuple[WrappedKey, ...]

    @property
    def kind(self) -> str:
        """`phone`, `passphrase`, `recovery`, `phone+passphrase` or `phones`."""
        return self.kem.kind

    def to_json(self) -> dict[str, Any]:
        """Return the member of `slots`."""
        return {
            "created": self.created,
            "id": self.id,
            "keys": [key.to_json() for key in self.keys],
            "kem": self.kem.to_json(),
            "kind": self.kind,
            "label": self.label,
        }


@dataclass(frozen=True, slots=True)
class Header:
    """Everything the MAC covers. No member is secret.

    Attributes:
        vault_id: 16 random bytes.
        generation: one more at every write.
        created: UTC, `YYYY-MM-DDThh:mm:ssZ`.
        cipher: `aes-256-gcm` or `aes-256-xts`.
        block_size: bytes of plaintext in a block or data unit.
        epochs: volume-key epochs.
        slots: 1 to 32, ascending ids.
        flags: feature flags, sorted.
        anchor: the vault's tag (`keyslots.anchor`), sealed; empty as long as it follows from the key of names.
    """

    vault_id: bytes
    generation: int
    created: str
    cipher: str
    block_size: int
    epochs: Epochs
    slots: tuple[Slot, ...]
    flags: tuple[str, ...] = ()
    anchor: bytes = b""

    @property
    def rotates_contents(self) -> bool:
        """Whether everything is being encrypted anew, or that was interrupted."""
        return CONTENT_ROTATION in self.flags

    def to_json(self) -> dict[str, Any]:
        """Return the member `header` of the file."""
        own = {"anchor": self.anchor.hex()} if self.anchor else {}
        return own | {
            "block_size": self.block_size,
            "cipher": self.cipher,
            "created": self.created,
            "epochs": self.epochs.to_json(),
            "flags": list(self.flags),
            "format": FORMAT,
            "generation": self.generation,
            "slots": [slot.to_json() for slot in self.slots],
            "vault_id": self.vault_id.hex(),
            "version": VERSION,
        }

    def encode(self) -> bytes:
        """Return the bytes under the MAC: canonical JSON of the header."""
        return canonical.encode(self.to_json())


def parse_header(value: object) -> Header:
    """Read the decoded member `header` of a file whose checksum is right.

    Raises:
        HeaderTooNew: the version or a flag is unknown.
        HeaderTampered: anything else is not as docs/format.md 1.2 and 1.3 say.
    """
    try:
        _check_version(value)
        return _parse(value)
    except SchemaError as error:
        raise HeaderTampered(f"the vault's header was tampered with: {error}") from error


def _check_version(value: object) -> None:
    """Look at `format`, `version` and `flags` first: a newer header may have any other members."""
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise SchemaError("it is not that of a vault")
    version = integer(value.get("version"), 1, canonical.MAX_INTEGER, "version")
    if version != VERSION:
        raise HeaderTooNew(f"this vault has format version {version}, this program knows {VERSION}")
    flags = [string(flag, "a flag") for flag in array(value.get("flags"), 0, 64, "flags")]
    if flags != sorted(set(flags)):
        raise SchemaError("flags are not sorted")
    unknown = [flag for flag in flags if flag not in FLAGS]
    if unknown:
        raise HeaderTooNew("this vault uses a feature that this program does not know")


def _parse(value: object) -> Header:
    flags = set(value["flags"]) if isinstance(value, dict) else set()
    anchored = ("anchor",) if ANCHORED in flags else ()
    fields = members(value, (*_HEADER_MEMBERS, *anchored), "header")
    cipher = string(fields["cipher"], "cipher")
    if cipher not in BLOCK_SIZES:
        raise SchemaError("cipher is unknown")
    block_size = integer(fields["block_size"], 1, 1 << 20, "block_size")
    if block_size not in BLOCK_SIZES[cipher]:
        raise SchemaError("block_size does not fit the cipher")
    epochs = _parse_epochs(fields["epochs"])
    if CONTENT_ROTATION in flags and epochs.current in (epochs.names, epochs.files):
        raise SchemaError("a rotation of contents is said to be under way, and has nothing to do")
    slots = tuple(_parse_slot(slot, epochs) for slot in array(fields["slots"], 1, MAX_SLOTS, "slots"))
    if any(after.id <= before.id for before, after in itertools.pairwise(slots)):
        raise SchemaError("slots are not in ascending order of their ids")
    if sum(part.cost.work_kib for slot in slots if (part := passphrase_part(slot.kem))) > MAX_TOTAL_WORK_KIB:
        raise SchemaError("the passphrase slots together cost too much")
    if tuple(fields["flags"]) != flags_of(slots, flags):
        raise SchemaError("flags are not those of the slots")
    return Header(
        vault_id=exact_hex(fields["vault_id"], VAULT_ID_BYTES, "vault_id"),
        generation=integer(fields["generation"], 1, MAX_GENERATION, "generation"),
        created=point_in_time(fields["created"], "created"),
        cipher=cipher,
        block_size=block_size,
        epochs=epochs,
        slots=slots,
        flags=tuple(fields["flags"]),
        anchor=exact_hex(fields["anchor"], ANCHOR_BYTES, "anchor") if anchored else b"",
    )


def flags_of(slots: tuple[Slot, ...], others: Collection[str] = ()) -> tuple[str, ...]:
    """Return the feature flags that a header with these slots has: theirs, and those of ``others`` that have nothing to do with slots."""
    flags = {FLAG_OF_KIND[slot.kind] for slot in slots if slot.kind in FLAG_OF_KIND}
    return tuple(sorted(flags | {flag for flag in others if flag in (CONTENT_ROTATION, ANCHORED)}))


def phone_parts(kem: Kem) -> tuple[PhoneKem, ...]:
    """Return what phones open of a slot: none, one, or several of which some suffice."""
    if isinstance(kem, PhonesKem):
        return kem.phones
    part = phone_part(kem)
    return (part,) if part is not None else ()


def phone_part(kem: Kem) -> PhoneKem | None:
    """Return what one phone opens of a slot, with no other phone, or None."""
    return kem.phone if isinstance(kem, PhonePassphraseKem) else kem if isinstance(kem, PhoneKem) else None


def passphrase_part(kem: Kem) -> PassphraseKem | None:
    """Return what a passphrase opens of a slot, or None."""
    if isinstance(kem, PhonePassphraseKem):
        return kem.passphrase
    return kem if isinstance(kem, PassphraseKem) else None


def _parse_epochs(value: object) -> Epochs:
    fields = members(value, ("current", "names", "files", "live"), "epochs")
    live = tuple(
        integer(epoch, 1, MAX_EPOCH, "a live epoch")
        for epoch in array(fields["live"], 1, MAX_LIVE_EPOCHS, "live")
    )
    if any(after <= before for before, after in itertools.pairwise(live)):
        raise SchemaError("live epochs are not ascending")
    current = integer(fields["current"], 1, MAX_EPOCH, "current")
    names = integer(fields["names"], 1, MAX_EPOCH, "names")
    files = integer(fields["files"], 1, MAX_EPOCH, "files")
    if not {current, names, files} <= set(live):
        raise SchemaError("an epoch in use is not live")
    if current != live[-1]:
        raise SchemaError("the current epoch is not the newest")
    return Epochs(current, names, files, live)


def _parse_slot(value: object, epochs: Epochs) -> Slot:
    fields = members(value, ("id", "kind", "label", "created", "kem", "keys"), "a slot")
    parse_kem = _PARSE_KEM.get(string(fields["kind"], "kind"))
    if parse_kem is None:
        raise SchemaError("a slot's kind is unknown")
    keys = tuple(_parse_key(key) for key in array(fields["keys"], 1, MAX_LIVE_EPOCHS, "keys"))
    if tuple(key.epoch for key in keys) != epochs.live:
        raise SchemaError("a slot's keys are not those of the live epochs")
    return Slot(
        id=integer(fields["id"], 0, MAX_SLOTS - 1, "a slot's id"),
        label=check_label(fields["label"]),
        created=point_in_time(fields["created"], "created"),
        kem=parse_kem(fields["kem"]),
        keys=keys,
    )


def _parse_key(value: object) -> WrappedKey:
    fields = members(value, ("epoch", "nonce", "wrapped"), "a wrapped key")
    return WrappedKey(
        epoch=integer(fields["epoch"], 1, MAX_EPOCH, "a wrapped key's epoch"),
        nonce=exact_hex(fields["nonce"], NONCE_BYTES, "nonce"),
        wrapped=exact_hex(fields["wrapped"], WRAPPED_BYTES, "wrapped"),
    )


def check_label(value: object) -> str:
    """Return `value` if it can be a slot's label: at most 64 characters, none of `_STEERING`.

    Raises:
        SchemaError: it cannot.
    """
    label = string(value, "label")
    if len(label) > MAX_LABEL or _STEERING.search(label):
        raise SchemaError("label is too long or has a control character")
    return label


def point_in_time(value: object, where: str) -> str:
    """Return `value` if it is an existing point in time, `YYYY-MM-DDThh:mm:ssZ`.

    Raises:
        SchemaError: it is not.
    """
    text = string(value, where)
    try:
        if _CREATED.fullmatch(text) is None:
            raise ValueError
        datetime.datetime.fromisoformat(text[:-1])
    except ValueError:
        raise SchemaError(f"{where} is not a point in time") from None
    return text
