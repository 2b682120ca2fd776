"""Making slots and new headers from what the user wants."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from . import recovery_code
from .errors import BadParameter
from .header import (
    BLOCK_SIZES,
    MAX_SLOTS,
    VAULT_ID_BYTES,
    VMK_BYTES,
    Epochs,
    Header,
    Kem,
    Slot,
    check_label,
    flags_of,
)
from .schema import SchemaError
from .secret import Secret
from .slots import passphrase, phone, phone_passphrase, phones, recovery
from .slots.passphrase import Cost
from .wrap import wrap_slot

DEFAULT_BLOCK_SIZE = {"aes-256-gcm": 4096, "aes-256-xts": 65536}
"""Bytes of plaintext in a block or data unit, by cipher."""

FIRST_EPOCH = 1


@dataclass(frozen=True)
class PhoneSlotRequest:
    """A slot for a phone: DER SubjectPublicKeyInfo of its RSA key, from the paired phone's record."""

    public_key_der: bytes
    label: str = "phone"


@dataclass(frozen=True)
class PassphraseSlotRequest:
    """A slot for a passphrase (UTF-8; the caller wipes it)."""

    passphrase: bytearray = field(repr=False)
    label: str = "passphrase"
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True)
class RecoverySlotRequest:
    """A slot for a recovery code: 20 random bytes (`new_recovery_code`; the caller wipes it)."""

    code: Secret = field(repr=False)
    label: str = "recovery code"


@dataclass(frozen=True)
class PhonePassphraseSlotRequest:
    """A slot for a phone and a passphrase together: DER of the phone's key, and the passphrase (the caller wipes it)."""

    public_key_der: bytes
    passphrase: bytearray = field(repr=False)
    label: str = "phone and passphrase"
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True)
class PhonesSlotRequest:
    """A slot that any `threshold` of several phones open: DER of their keys."""

    public_keys_der: tuple[bytes, ...]
    threshold: int
    label: str = "phones"


SlotRequest = (
    PhoneSlotRequest
    | PassphraseSlotRequest
    | RecoverySlotRequest
    | PhonePassphraseSlotRequest
    | PhonesSlotRequest
)


@dataclass(frozen=True)
class NewHeader:
    """A header with its first volume master key; the caller wipes `vmk`."""

    header: Header
    vmk: Secret


def now() -> str:
    """Return the time as the header writes it: UTC, `YYYY-MM-DDThh:mm:ssZ`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def new_recovery_code() -> Secret:
    """Return a new recovery code (see `keyslots.recovery_code.format_code`)."""
    return Secret.random(recovery_code.CODE_BYTES)


def _encapsulate(vault_id: bytes, slot_id: int, request: SlotRequest) -> tuple[Kem, Secret]:
    if isinstance(request, PhoneSlotRequest):
        return phone.encapsulate(request.public_key_der)
    if isinstance(request, PhonesSlotRequest):
        return phones.encapsulate(vault_id, slot_id, request.public_keys_der, request.threshold)
    if isinstance(request, PassphraseSlotRequest):
        return passphrase.encapsulate(passphrase.new_key(request.passphrase, request.cost))
    if isinstance(request, PhonePassphraseSlotRequest):
        typed = passphrase.new_key(request.passphrase, request.cost)
        return phone_passphrase.encapsulate(request.public_key_der, typed)
    return recovery.encapsulate(recovery.new_key(request.code))


def new_slot(vault_id: bytes, slot_id: int, request: SlotRequest, vmks: Mapping[int, Secret]) -> Slot:
    """Make a slot that opens the volume master keys `vmks`.

    Raises:
        BadParameter: the label, the public key or a cost breaks a bound.
        BadPassphrase: the passphrase is empty, too long or not UTF-8.
        KdfMemory: not enough memory for the cost asked for.
    """
    try:
        label = check_label(request.label)
    except SchemaError as error:
        raise BadParameter(str(error)) from error
    kem, secret = _encapsulate(vault_id, slot_id, request)
    with secret:
        return wrap_slot(vault_id, slot_id, label, now(), kem, secret, vmks)


def new_header(requests: Sequence[SlotRequest], cipher: str, block_size: int | None = None) -> NewHeader:
    """Make the header of a new vault: fresh id, fresh volume master key, a slot for each request.

    Args:
        requests: 1 to 32 slots.
        cipher: `aes-256-gcm` or `aes-256-xts`.
        block_size: bytes of plaintext in a block; the cipher's default if omitted.

    Raises:
        BadParameter: cipher, block size, number of slots, or a request is out of bounds.
        BadPassphrase: the passphrase is empty, too long or not UTF-8.
        KdfMemory: not enough memory for the cost asked for.
    """
    if cipher not in BLOCK_SIZES:
        raise BadParameter(f"unknown cipher (there are {', '.join(BLOCK_SIZES)})")
    size = DEFAULT_BLOCK_SIZE[cipher] if block_size is None else block_size
    if size not in BLOCK_SIZES[cipher]:
        sizes = BLOCK_SIZES[cipher]
        raise BadParameter(f"the block size of {cipher} is a power of two from {sizes[0]} to {sizes[-1]}")
    if not 1 <= len(requests) <= MAX_SLOTS:
        raise BadParameter(f"a vault has 1 to {MAX_SLOTS} slots")
    vault_id = os.urandom(VAULT_ID_BYTES)
    vmk = Secret.random(VMK_BYTES)
    try:
        slots = tuple(
            new_slot(vault_id, n, request, {FIRST_EPOCH: vmk}) for n, request in enumerate(requests)
        )
    except BaseException:
        vmk.wipe()
        raise
    epochs = Epochs(FIRST_EPOCH, FIRST_EPOCH, FIRST_EPOCH, (FIRST_EPOCH,))
    return NewHeader(Header(vault_id, 1, now(), cipher, size, epochs, slots, flags_of(slots)), vmk)
