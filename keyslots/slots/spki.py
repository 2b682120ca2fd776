"""The DER of an RSA public key as SubjectPublicKeyInfo (RFC 5280 4.1, RFC 8017 A.1.1), strict. Pure.

Only RSA with e = 65537 is accepted, so the encoding of a key is a function of its modulus: a reader takes the
modulus out, encodes again and compares.
"""

from __future__ import annotations

MIN_BITS = 2048
MAX_BITS = 8192
EXPONENT = 65537

_ALGORITHM = bytes.fromhex("300d06092a864886f70d0101010500")  # SEQUENCE { rsaEncryption, NULL }
_EXPONENT = bytes.fromhex("0203010001")  # INTEGER 65537
_MAX_DER = MAX_BITS // 8 + 64


def _tagged(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def encode(modulus: int) -> bytes:
    """Return the SubjectPublicKeyInfo of an RSA key with this modulus and e = 65537."""
    number = modulus.to_bytes(modulus.bit_length() // 8 + 1, "big")  # a leading 0 where the top bit is set
    key = _tagged(0x30, _tagged(0x02, number) + _EXPONENT)
    return _tagged(0x30, _ALGORITHM + _tagged(0x03, b"\x00" + key))


def modulus_bits(der: bytes) -> int:
    """Return the size of the RSA key in `der`, in bits.

    Raises:
        ValueError: `der` is not the encoding of an RSA public key of 2048 to 8192 bits with e = 65537.
    """
    if len(der) <= _MAX_DER:
        # The modulus ends right before the exponent, and its length follows from that of the whole.
        for bits in _possible_bits(len(der)):
            octets = (bits + 7) // 8
            modulus = int.from_bytes(der[-len(_EXPONENT) - octets : -len(_EXPONENT)], "big")
            if modulus.bit_length() == bits and modulus % 2 and encode(modulus) == der:
                return bits
    raise ValueError("not an RSA public key of 2048 to 8192 bits with exponent 65537")


def _possible_bits(der_length: int) -> range:
    """Return the modulus sizes that fit an encoding of this length."""
    longest = min((der_length - 20) * 8, MAX_BITS)
    return range(longest, max(longest - 40 * 8, MIN_BITS) - 1, -1)
