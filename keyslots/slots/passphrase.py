"""Slots that a passphrase opens: Argon2id (RFC 9106) and X25519 (docs/format.md 1.3)."""

from __future__ import annotations

import hmac
import os
import unicodedata
from dataclasses import dataclass
from typing import Any, ClassVar

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from ..errors import BadParameter, BadPassphrase, KdfMemory, NotMine
from ..memory import scrub_heap, scrub_stack, wipe, wipe_bytes, wipe_str
from ..schema import SchemaError, exact_hex, integer, members
from ..secret import Secret
from . import x25519

MAX_PASSPHRASE_BYTES = 1024
SALT_BYTES = 16
MEMORY_KIB = (8 * 1024, 4 * 1024 * 1024)
ITERATIONS = (1, 64)
LANES = (1, 16)
MAX_WORK_KIB = 16 * 1024 * 1024
"""Bound of memory × iterations of one slot, in KiB."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of Argon2id. The default, for who does not measure: about 0.4 s on two cores of 2020, and 256 MiB.

    Attributes:
        memory_kib: memory in KiB.
        iterations: passes over it.
        lanes: degree of parallelism.
    """

    memory_kib: int = 256 * 1024
    iterations: int = 2
    lanes: int = 4

    @property
    def work_kib(self) -> int:
        """Memory × iterations in KiB, which is what the time goes with."""
        return self.memory_kib * self.iterations

    def check(self) -> None:
        """Check the bounds of docs/format.md 1.3.

        Raises:
            SchemaError: a bound is violated.
        """
        integer(self.memory_kib, *MEMORY_KIB, "memory_kib")
        integer(self.iterations, *ITERATIONS, "iterations")
        integer(self.lanes, *LANES, "lanes")
        if self.work_kib > MAX_WORK_KIB:
            raise SchemaError("memory_kib × iterations is more than 16 GiB")


@dataclass(frozen=True, slots=True)
class PassphraseKem:
    """Public part of a passphrase slot.

    Attributes:
        salt: of Argon2id, 16 bytes.
        cost: of Argon2id.
        public_key: X25519 key derived from the passphrase.
        ephemeral: X25519 public key of this wrapping.
    """

    kind: ClassVar[str] = "passphrase"

    salt: bytes
    cost: Cost
    public_key: bytes
    ephemeral: bytes

    def to_json(self) -> dict[str, Any]:
        """Return the member `kem` of the slot."""
        argon2id = {
            "iterations": self.cost.iterations,
            "lanes": self.cost.lanes,
            "memory_kib": self.cost.memory_kib,
            "salt": self.salt.hex(),
        }
        return {"argon2id": argon2id, "ephemeral": self.ephemeral.hex(), "public_key": self.public_key.hex()}


def parse(value: object) -> PassphraseKem:
    """Read the member `kem` of a passphrase slot.

    Raises:
        SchemaError: a member or a bound is wrong.
    """
    fields = members(value, ("argon2id", "public_key", "ephemeral"), "kem")
    argon2id = members(fields["argon2id"], ("salt", "memory_kib", "iterations", "lanes"), "argon2id")
    cost = Cost(argon2id["memory_kib"], argon2id["iterations"], argon2id["lanes"])
    cost.check()
    return PassphraseKem(
        salt=exact_hex(argon2id["salt"], SALT_BYTES, "salt"),
        cost=cost,
        public_key=exact_hex(fields["public_key"], 32, "public_key"),
        ephemeral=exact_hex(fields["ephemeral"], 32, "ephemeral"),
    )


def normalize(passphrase: bytes | bytearray) -> bytearray:
    """Return the passphrase in Unicode's normal form C, UTF-8; the caller wipes both.

    Raises:
        BadPassphrase: it is empty, longer than 1024 bytes, or not UTF-8.
    """
    if not passphrase:
        raise BadPassphrase("the passphrase is empty")
    if len(passphrase) > MAX_PASSPHRASE_BYTES:
        raise BadPassphrase(f"the passphrase is longer than {MAX_PASSPHRASE_BYTES} bytes")
    if passphrase.isascii():
        return bytearray(passphrase)  # normal already: no str is made of it
    try:
        typed = passphrase.decode("utf-8")
    except UnicodeDecodeError:
        raise BadPassphrase("the passphrase is not UTF-8") from None  # the error quotes the bytes
    normal = unicodedata.normalize("NFC", typed)
    encoded = normal.encode("utf-8")
    result = bytearray(encoded)
    wipe_bytes(encoded)
    wipe_str(normal)
    if typed is not normal:
        wipe_str(typed)
    if len(result) > MAX_PASSPHRASE_BYTES:
        wipe(result)
        raise BadPassphrase(f"the passphrase is longer than {MAX_PASSPHRASE_BYTES} bytes")
    return result


def _private_key(passphrase: bytes | bytearray, salt: bytes, cost: Cost) -> Secret:
    normal = normalize(passphrase)
    ikm = Secret(32)
    kdf = Argon2id(
        salt=salt, length=32, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib
    )
    try:
        kdf.derive_into(normal, ikm.view)  # type: ignore[arg-type]  # any buffer works
        return x25519.private_key(ikm, salt)
    except MemoryError:
        raise KdfMemory(f"not enough memory: this slot needs {cost.memory_kib // 1024} MiB") from None
    finally:
        ikm.wipe()
        scrub_heap(len(normal))  # OpenSSL's parameter copy of the passphrase is freed unwiped
        wipe(normal)
        scrub_stack()


def new_key(passphrase: bytes | bytearray, cost: Cost) -> PassphraseKem:
    """Derive the public key of a new passphrase slot, with a fresh salt, not wrapped for yet.

    Raises:
        BadPassphrase: see `normalize`.
        BadParameter: the cost breaks a bound.
        KdfMemory: not enough memory for that cost.
    """
    try:
        cost.check()
    except SchemaError as error:
        raise BadParameter(str(error)) from error
    salt = os.urandom(SALT_BYTES)
    with _private_key(passphrase, salt, cost) as private:
        return PassphraseKem(salt, cost, x25519.public_key(private), b"")


def encapsulate(kem: PassphraseKem) -> tuple[PassphraseKem, Secret]:
    """Make a fresh slot secret for the slot of `kem`; the passphrase is not needed."""
    ephemeral, secret = x25519.encapsulate(kem.public_key)
    return PassphraseKem(kem.salt, kem.cost, kem.public_key, ephemeral), secret


def unwrap(kem: PassphraseKem, passphrase: bytes | bytearray) -> Secret:
    """Return the slot secret.

    Raises:
        NotMine: the passphrase is another one (a changed salt, cost or public key looks the same).
        BadPassphrase: see `normalize`.
        KdfMemory: not enough memory for the slot's cost.
        HeaderTampered: the ephemeral key is of small order.
    """
    with _private_key(passphrase, kem.salt, kem.cost) as private:
        if not hmac.compare_digest(x25519.public_key(private), kem.public_key):
            raise NotMine("the passphrase does not fit this slot")
        return x25519.decapsulate(private, kem.ephemeral)
