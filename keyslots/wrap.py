"""Wrapping volume master keys under a slot secret (docs/format.md 1.3). No I/O but for random nonces."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from . import canonical
from .derive import hkdf
from .errors import HeaderTampered
from .header import NONCE_BYTES, VMK_BYTES, WRAPPED_BYTES, Header, Kem, Slot, WrappedKey
from .labels import kek_info
from .memory import scrub_stack
from .secret import Secret


def kek(slot_secret: Secret, vault_id: bytes, kind: str, slot_id: int) -> Secret:
    """Return the key-encryption key of a slot: it depends on the vault, the kind and the slot's id."""
    return hkdf(slot_secret, vault_id, kek_info(kind, slot_id), 32)


def associated_data(vault_id: bytes, slot_id: int, kem: Kem, epoch: int) -> bytes:
    """Return what a wrapped key is bound to: canonical JSON of epoch, kem, kind, slot and vault."""
    return canonical.encode(
        {
            "epoch": epoch,
            "kem": kem.to_json(),
            "kind": kem.kind,
            "slot": slot_id,
            "vault_id": vault_id.hex(),
        }
    )


def wrap_slot(
    vault_id: bytes,
    slot_id: int,
    label: str,
    created: str,
    kem: Kem,
    slot_secret: Secret,
    vmks: Mapping[int, Secret],
) -> Slot:
    """Wrap the volume key of every live epoch for a slot. `slot_secret` must be fresh: it wraps this once.

    Args:
        vault_id: 16 bytes.
        slot_id: 0 … 31.
        label: for people.
        created: UTC, `YYYY-MM-DDThh:mm:ssZ`.
        kem: public part with which `slot_secret` was encapsulated.
        slot_secret: fresh slot secret.
        vmks: volume master keys by epoch.
    """
    keys = []
    with kek(slot_secret, vault_id, kem.kind, slot_id) as key:
        cipher = AESGCM(key.view)
        for epoch, vmk in sorted(vmks.items()):
            # Random 96 bits under a key used once an epoch (SP 800-38D 8.2.2): at most 16 under one key.
            nonce = os.urandom(NONCE_BYTES)
            wrapped = bytearray(WRAPPED_BYTES)
            cipher.encrypt_into(nonce, vmk.view, associated_data(vault_id, slot_id, kem, epoch), wrapped)
            keys.append(WrappedKey(epoch, nonce, bytes(wrapped)))
        del cipher
    scrub_stack()
    return Slot(slot_id, label, created, kem, tuple(keys))


def unwrap_slot(header: Header, slot: Slot, slot_secret: Secret) -> dict[int, Secret]:
    """Return the volume master keys of all live epochs.

    Raises:
        HeaderTampered: a wrapped key does not open; `slot_secret` being right, it was changed or moved.
    """
    vmks: dict[int, Secret] = {}
    try:
        with kek(slot_secret, header.vault_id, slot.kind, slot.id) as key:
            cipher = AESGCM(key.view)
            for wrapped in slot.keys:
                bound = associated_data(header.vault_id, slot.id, slot.kem, wrapped.epoch)
                vmk = vmks.setdefault(wrapped.epoch, Secret(VMK_BYTES))
                cipher.decrypt_into(wrapped.nonce, wrapped.wrapped, bound, vmk.view)
            del cipher
    except InvalidTag:
        for vmk in vmks.values():
            vmk.wipe()
        raise HeaderTampered(
            f"the vault's header was tampered with: a key of slot {slot.id} does not open"
        ) from None
    finally:
        scrub_stack()
    return vmks
