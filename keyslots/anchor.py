"""The vault's tag (docs/format.md 1.4), by which a phone knows all headers of a vault, whatever volume keys they have.

It follows from the volume key of names. When that goes (a rotation of contents), the tag stays: sealed under the current volume key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .derive import derive
from .errors import HeaderTampered
from .header import ANCHOR_BYTES, NONCE_BYTES, Header
from .labels import ANCHOR, ANCHOR_SEAL, KEY_BYTES
from .secret import Secret


def tag_of(header: Header, vmks: Mapping[int, Secret]) -> Secret:
    """Return the vault's tag, 32 bytes, for the caller to wipe.

    Args:
        header: verified.
        vmks: volume master keys of all live epochs.

    Raises:
        HeaderTampered: the sealed tag does not open.
    """
    epochs = header.epochs
    if not header.anchor:
        return derive(vmks[epochs.names], header.vault_id, ANCHOR)
    tag = Secret(KEY_BYTES[ANCHOR])
    try:
        with derive(vmks[epochs.current], header.vault_id, ANCHOR_SEAL) as key:
            AESGCM(key.view).decrypt_into(
                header.anchor[:NONCE_BYTES],
                header.anchor[NONCE_BYTES:],
                _associated_data(header.vault_id, epochs.current),
                tag.view,
            )
    except InvalidTag:
        tag.wipe()
        raise HeaderTampered("the vault's tag in the header does not open") from None
    return tag


def seal_tag(tag: Secret, vmk: Secret, vault_id: bytes, epoch: int) -> bytes:
    """Return the member `anchor`. Nonce: random; a volume key seals one tag, a few times.

    Args:
        tag: of the vault.
        vmk: volume master key that is the current one from now on.
        vault_id: of the vault.
        epoch: of that key.
    """
    nonce = os.urandom(NONCE_BYTES)
    sealed = bytearray(ANCHOR_BYTES - NONCE_BYTES)
    with derive(vmk, vault_id, ANCHOR_SEAL) as key:
        AESGCM(key.view).encrypt_into(nonce, tag.view, _associated_data(vault_id, epoch), sealed)
    return nonce + bytes(sealed)


def _associated_data(vault_id: bytes, epoch: int) -> bytes:
    return b"anchor" + vault_id + epoch.to_bytes(4, "little")
