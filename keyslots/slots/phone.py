"""Slots that a phone opens: RSA-OAEP-SHA256 of a random slot secret (docs/format.md 1.3, RFC 8017 7.1)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import BadParameter, HeaderTampered
from ..memory import scrub_stack, wipe_bytes
from ..schema import SchemaError, exact_hex, hex_bytes, members
from ..secret import Secret
from .spki import MAX_BITS, MIN_BITS, modulus_bits

SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class PhoneKem:
    """Public part of a phone slot.

    Attributes:
        public_key: DER SubjectPublicKeyInfo of the phone's RSA key.
        fingerprint: SHA-256 of `public_key`.
        ciphertext: RSA-OAEP of the slot secret, as long as the modulus.
    """

    kind: ClassVar[str] = "phone"

    public_key: bytes
    fingerprint: bytes
    ciphertext: bytes

    def to_json(self) -> dict[str, Any]:
        """Return the member `kem` of the slot."""
        return {
            "ciphertext": self.ciphertext.hex(),
            "fingerprint": self.fingerprint.hex(),
            "public_key": self.public_key.hex(),
        }


def parse(value: object) -> PhoneKem:
    """Read the member `kem` of a phone slot.

    Raises:
        SchemaError: a member or a bound is wrong, or the fingerprint is not the key's.
    """
    fields = members(value, ("public_key", "fingerprint", "ciphertext"), "kem")
    public_key = hex_bytes(fields["public_key"], MIN_BITS // 8, MAX_BITS // 8 + 64, "public_key")
    try:
        octets = (modulus_bits(public_key) + 7) // 8
    except ValueError as error:
        raise SchemaError(f"public_key is {error}") from error
    fingerprint = exact_hex(fields["fingerprint"], 32, "fingerprint")
    if fingerprint != hashlib.sha256(public_key).digest():
        raise SchemaError("fingerprint is not that of public_key")
    return PhoneKem(public_key, fingerprint, exact_hex(fields["ciphertext"], octets, "ciphertext"))


def encapsulate(public_key: bytes) -> tuple[PhoneKem, Secret]:
    """Make a fresh slot secret for a phone that need not be there.

    Args:
        public_key: DER SubjectPublicKeyInfo, RSA of 2048 to 8192 bits with e = 65537.

    Returns:
        The public part and the slot secret (32 random bytes).

    Raises:
        BadParameter: the key is something else.
    """
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        modulus_bits(public_key)
        key = load_der_public_key(public_key)
    except ValueError as error:
        raise BadParameter("the phone's key is no RSA key of 2048 to 8192 bits (e = 65537)") from error
    if not isinstance(key, RSAPublicKey):  # modulus_bits admits nothing else
        raise BadParameter("the phone's key is not an RSA key")
    secret = Secret.random(SECRET_BYTES)
    plaintext = bytes(secret.view)  # cryptography takes nothing else here
    try:
        ciphertext = key.encrypt(plaintext, OAEP(MGF1(SHA256()), SHA256(), None))
    finally:
        wipe_bytes(plaintext)
        scrub_stack()
    return PhoneKem(public_key, hashlib.sha256(public_key).digest(), ciphertext), secret


def slot_secret(decrypted: bytearray) -> Secret:
    """Take what the phone decrypted as a slot secret; `decrypted` is wiped.

    Raises:
        HeaderTampered: it is not 32 bytes long, so nobody made it with `encapsulate`.
    """
    secret = Secret.take(decrypted) if decrypted else None
    if secret is None or len(secret) != SECRET_BYTES:
        raise HeaderTampered("a phone slot holds something else than a slot secret")
    return secret
