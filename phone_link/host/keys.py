"""The phone's RSA decryption keys as PKCS#11 objects: templates, attribute lines, public key. No I/O."""

from __future__ import annotations

import hashlib

from phone_link.at.codec import parse_values
from phone_link.cryptoki import (
    CK_TRUE,
    CKA,
    CKK,
    CKM,
    CKO,
    CKR,
    encode_big_integer,
    encode_template,
    encode_ulong,
)
from phone_link.errors import ProtocolError

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
RSA_EXPONENT = 65537
GENERATED_BITS = 3072
PUBLIC_ATTRIBUTES = (CKA.MODULUS, CKA.PUBLIC_EXPONENT)

_DECRYPTION_KEY = (
    (CKA.CLASS, encode_ulong(CKO.PRIVATE_KEY)),
    (CKA.KEY_TYPE, encode_ulong(CKK.RSA)),
    (CKA.DECRYPT, CK_TRUE),
)


def _hex(data: bytes) -> str:
    return data.hex().upper()


def find_command(session: int, key_id: bytes | None = None) -> str:
    """Return the `*PFIND` for RSA decryption keys, all or those with a CKA_ID."""
    template = _DECRYPTION_KEY if key_id is None else (*_DECRYPTION_KEY, (CKA.ID, key_id))
    return f'*PFIND={session},"{_hex(encode_template(template))}"'


def parse_found(text: str) -> tuple[int, ...]:
    """Return the object handles of `*PFIND: <o>,…,<more>`."""
    values = [value.integer() for value in parse_values(text)]
    if values[-1] not in (0, 1):
        raise ProtocolError("the phone's *PFIND is malformed")
    return tuple(values[:-1])


def attributes_command(session: int, handle: int) -> str:
    """Return the `*PATTR` that asks for a key's public numbers."""
    return f"*PATTR={session},{handle}," + ",".join(f"{kind:X}" for kind in PUBLIC_ATTRIBUTES)


def parse_attributes(lines: tuple[str, ...]) -> dict[int, bytes]:
    """Return the values of `*PATTR: <type>,<ckr>,<length>,"<value>"` lines that have one."""
    found: dict[int, bytes] = {}
    for line in lines:
        values = parse_values(line)
        if len(values) not in (3, 4):
            raise ProtocolError("the phone's *PATTR is malformed")
        kind, ckr, length = values[0].hex_integer(), values[1].hex_integer(), values[2].integer()
        if ckr == CKR.OK:
            value = values[3].hex_bytes() if len(values) == 4 else b""
            if len(value) != length or kind in found:
                raise ProtocolError("the phone's *PATTR is malformed")
            found[kind] = value
    return found


def public_key_der(attributes: dict[int, bytes]) -> bytes:
    """Return the SubjectPublicKeyInfo (RFC 5280) of a key from its public numbers.

    Raises:
        ProtocolError: attributes are missing, or the key is not RSA of 2048 … 8192 bits with e = 65537.
    """
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    modulus = int.from_bytes(attributes.get(CKA.MODULUS, b""), "big")
    exponent = int.from_bytes(attributes.get(CKA.PUBLIC_EXPONENT, b""), "big")
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS or exponent != RSA_EXPONENT:
        bounds = f"{MIN_RSA_BITS} to {MAX_RSA_BITS} bits with exponent {RSA_EXPONENT}"
        raise ProtocolError(f"the phone's key is not RSA of {bounds}")
    try:
        key = RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError:
        raise ProtocolError("the phone's public key is malformed") from None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def fingerprint_of(der: bytes) -> str:
    """Return the hex SHA-256 of a public key's DER: the name of a key everywhere, and its CKA_ID."""
    return hashlib.sha256(der).hexdigest()


def generate_command(session: int, bits: int = GENERATED_BITS) -> str:
    """Return the `*PGENKP` for a new RSA decryption key."""
    public = (
        (CKA.TOKEN, CK_TRUE),
        (CKA.ENCRYPT, CK_TRUE),
        (CKA.MODULUS_BITS, encode_ulong(bits)),
        (CKA.PUBLIC_EXPONENT, encode_big_integer(RSA_EXPONENT)),
    )
    private = (
        (CKA.TOKEN, CK_TRUE),
        (CKA.PRIVATE, CK_TRUE),
        (CKA.SENSITIVE, CK_TRUE),
        (CKA.DECRYPT, CK_TRUE),
    )
    templates = f'"{_hex(encode_template(public))}","{_hex(encode_template(private))}"'
    return f"*PGENKP={session},{CKM.RSA_PKCS_KEY_PAIR_GEN:X},{templates}"


def parse_generated(text: str) -> int:
    """Return the private handle of `*PGENKP: <o public>,<o private>`."""
    values = parse_values(text)
    if len(values) != 2:
        raise ProtocolError("the phone's *PGENKP is malformed")
    return values[1].integer()
