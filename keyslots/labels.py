"""Every key-separation label of docs/format.md 1.3 and 1.4, in one place. Never change one."""

from __future__ import annotations

SLOT_X25519 = b"phonevault v1 slot x25519"
SLOT_KEK = b"phonevault v1 slot kek"
SLOT_BOTH = b"phonevault v1 slot both"
SLOT_PHONES = b"phonevault v1 slot phones"
RECOVERY_CODE = b"phonevault v1 recovery code"

HEADER_MAC = b"phonevault v1 header mac"
NAMES = b"phonevault v1 names"
SYMLINKS = b"phonevault v1 symlinks"
FILE_KEYS = b"phonevault v1 file keys"
XATTR_NAMES = b"phonevault v1 xattr names"
XATTRS = b"phonevault v1 xattrs"
ANCHOR = b"phonevault v1 anchor"
ANCHOR_SEAL = b"phonevault v1 anchor seal"
ROTATION = b"phonevault v1 rotation"

KEY_BYTES = {
    HEADER_MAC: 32,
    NAMES: 64,
    SYMLINKS: 32,
    FILE_KEYS: 32,
    XATTR_NAMES: 64,
    XATTRS: 32,
    ANCHOR: 32,
    ANCHOR_SEAL: 32,
    ROTATION: 32,
}
"""Length of each key derived from the volume master key, in bytes (docs/format.md 1.4)."""


def kek_info(kind: str, slot_id: int) -> bytes:
    """Return the HKDF info of a slot's key-encryption key: label ‖ 0x00 ‖ kind ‖ 0x00 ‖ u8 id."""
    return b"\x00".join((SLOT_KEK, kind.encode("ascii"), bytes((slot_id,))))


def phones_info(slot_id: int, subset: tuple[int, ...]) -> bytes:
    """Return the HKDF info of the key of some phones of a slot: label ‖ 0x00 ‖ u8 id ‖ u8 place of each."""
    return b"\x00".join((SLOT_PHONES, bytes((slot_id, *subset))))
