"""PKCS#11 objects of a key pair: attributes, what is sensitive, matching with a template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from phone_link.cryptoki import (
    CKA,
    CKK,
    CKM,
    CKO,
    Template,
    encode_big_integer,
    encode_bool,
    encode_ulong,
)

SENSITIVE_ATTRIBUTES = frozenset(
    {
        CKA.PRIVATE_EXPONENT,
        CKA.PRIME_1,
        CKA.PRIME_2,
        CKA.EXPONENT_1,
        CKA.EXPONENT_2,
        CKA.COEFFICIENT,
    }
)


@dataclass(frozen=True)
class KeyDescription:
    """What a module tells about one of its RSA key pairs.

    Attributes:
        id: CKA_ID.
        label: CKA_LABEL.
        policy: `ask`, `session` or `auto`.
        usage: some of `decrypt`, `sign`.
        modulus: n.
        exponent: e.
        public_der: SubjectPublicKeyInfo.
    """

    id: bytes
    label: str
    policy: str
    usage: tuple[str, ...]
    modulus: int
    exponent: int
    public_der: bytes


@dataclass(frozen=True)
class TokenObject:
    """The public or the private half of a key pair as a PKCS#11 object."""

    object_class: CKO
    key: KeyDescription
    attributes: Mapping[int, bytes]

    @property
    def is_private(self) -> bool:
        """True if it can be seen only after login (CKA_PRIVATE)."""
        return self.object_class is CKO.PRIVATE_KEY

    def is_sensitive(self, attribute: int) -> bool:
        """True if the attribute exists and is never told."""
        return self.is_private and attribute in SENSITIVE_ATTRIBUTES

    def matches(self, template: Template) -> bool:
        """True if every attribute of the template has exactly this value (C_FindObjectsInit)."""
        return all(self.attributes.get(kind) == value for kind, value in template)


def objects_of(key: KeyDescription) -> tuple[TokenObject, TokenObject]:
    """Return the public and the private key object of a pair (PKCS#11 v2.40, 4.8, 4.9)."""
    common: dict[int, bytes] = {
        CKA.TOKEN: encode_bool(True),
        CKA.MODIFIABLE: encode_bool(False),
        CKA.DESTROYABLE: encode_bool(False),
        CKA.LABEL: key.label.encode(),
        CKA.KEY_TYPE: encode_ulong(CKK.RSA),
        CKA.ID: key.id,
        CKA.DERIVE: encode_bool(False),
        CKA.LOCAL: encode_bool(True),
        CKA.KEY_GEN_MECHANISM: encode_ulong(CKM.RSA_PKCS_KEY_PAIR_GEN),
        CKA.MODULUS: encode_big_integer(key.modulus),
        CKA.PUBLIC_EXPONENT: encode_big_integer(key.exponent),
        CKA.PUBLIC_KEY_INFO: key.public_der,
    }
    decrypt, sign = "decrypt" in key.usage, "sign" in key.usage
    public = common | {
        CKA.CLASS: encode_ulong(CKO.PUBLIC_KEY),
        CKA.PRIVATE: encode_bool(False),
        CKA.ENCRYPT: encode_bool(decrypt),
        CKA.VERIFY: encode_bool(sign),
        CKA.VERIFY_RECOVER: encode_bool(False),
        CKA.WRAP: encode_bool(False),
        CKA.MODULUS_BITS: encode_ulong(key.modulus.bit_length()),
    }
    private = common | {
        CKA.CLASS: encode_ulong(CKO.PRIVATE_KEY),
        CKA.PRIVATE: encode_bool(True),
        CKA.SENSITIVE: encode_bool(True),
        CKA.ALWAYS_SENSITIVE: encode_bool(True),
        CKA.EXTRACTABLE: encode_bool(False),
        CKA.NEVER_EXTRACTABLE: encode_bool(True),
        CKA.DECRYPT: encode_bool(decrypt),
        CKA.SIGN: encode_bool(sign),
        CKA.SIGN_RECOVER: encode_bool(False),
        CKA.UNWRAP: encode_bool(False),
        CKA.ALWAYS_AUTHENTICATE: encode_bool(False),
    }
    return TokenObject(CKO.PUBLIC_KEY, key, public), TokenObject(CKO.PRIVATE_KEY, key, private)
