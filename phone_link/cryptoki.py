"""PKCS#11 numbers and byte encodings both ends of the link share.

Names and values are those of PKCS#11 v2.40 (OASIS). On the wire all integers are big-endian; a CK_ULONG is
four bytes, a CK_BBOOL one byte, a big integer (modulus, exponent) unsigned without leading zeros.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from phone_link.errors import ProtocolError

MAX_TEMPLATE_BYTES = 4096
MAX_TEMPLATE_ATTRIBUTES = 32
MAX_LABEL_BYTES = 256

_ATTRIBUTE = struct.Struct(">IH")
_OAEP = struct.Struct(">IIH")


class CKR(IntEnum):
    """Return values (PKCS#11 v2.40, 4.1 and pkcs11t.h)."""

    OK = 0x000
    SLOT_ID_INVALID = 0x003
    GENERAL_ERROR = 0x005
    FUNCTION_FAILED = 0x006
    ARGUMENTS_BAD = 0x007
    ATTRIBUTE_READ_ONLY = 0x010
    ATTRIBUTE_SENSITIVE = 0x011
    ATTRIBUTE_TYPE_INVALID = 0x012
    ATTRIBUTE_VALUE_INVALID = 0x013
    DATA_INVALID = 0x020
    DATA_LEN_RANGE = 0x021
    DEVICE_ERROR = 0x030
    DEVICE_MEMORY = 0x031
    DEVICE_REMOVED = 0x032
    ENCRYPTED_DATA_INVALID = 0x040
    ENCRYPTED_DATA_LEN_RANGE = 0x041
    FUNCTION_NOT_SUPPORTED = 0x054
    KEY_HANDLE_INVALID = 0x060
    KEY_SIZE_RANGE = 0x062
    KEY_TYPE_INCONSISTENT = 0x063
    KEY_FUNCTION_NOT_PERMITTED = 0x068
    MECHANISM_INVALID = 0x070
    MECHANISM_PARAM_INVALID = 0x071
    OBJECT_HANDLE_INVALID = 0x082
    OPERATION_ACTIVE = 0x090
    OPERATION_NOT_INITIALIZED = 0x091
    PIN_INCORRECT = 0x0A0
    PIN_INVALID = 0x0A1
    PIN_LEN_RANGE = 0x0A2
    PIN_LOCKED = 0x0A4
    SESSION_COUNT = 0x0B1
    SESSION_HANDLE_INVALID = 0x0B3
    SESSION_PARALLEL_NOT_SUPPORTED = 0x0B4
    SESSION_READ_ONLY = 0x0B5
    TEMPLATE_INCOMPLETE = 0x0D0
    TEMPLATE_INCONSISTENT = 0x0D1
    TOKEN_NOT_PRESENT = 0x0E0
    USER_ALREADY_LOGGED_IN = 0x100
    USER_NOT_LOGGED_IN = 0x101
    USER_TYPE_INVALID = 0x103
    FUNCTION_REJECTED = 0x200


class CKA(IntEnum):
    """Attribute types."""

    CLASS = 0x000
    TOKEN = 0x001
    PRIVATE = 0x002
    LABEL = 0x003
    KEY_TYPE = 0x100
    SUBJECT = 0x101
    ID = 0x102
    SENSITIVE = 0x103
    ENCRYPT = 0x104
    DECRYPT = 0x105
    WRAP = 0x106
    UNWRAP = 0x107
    SIGN = 0x108
    SIGN_RECOVER = 0x109
    VERIFY = 0x10A
    VERIFY_RECOVER = 0x10B
    DERIVE = 0x10C
    MODULUS = 0x120
    MODULUS_BITS = 0x121
    PUBLIC_EXPONENT = 0x122
    PRIVATE_EXPONENT = 0x123
    PRIME_1 = 0x124
    PRIME_2 = 0x125
    EXPONENT_1 = 0x126
    EXPONENT_2 = 0x127
    COEFFICIENT = 0x128
    PUBLIC_KEY_INFO = 0x129
    EXTRACTABLE = 0x162
    LOCAL = 0x163
    NEVER_EXTRACTABLE = 0x164
    ALWAYS_SENSITIVE = 0x165
    KEY_GEN_MECHANISM = 0x166
    MODIFIABLE = 0x170
    DESTROYABLE = 0x172
    ALWAYS_AUTHENTICATE = 0x202


class CKO(IntEnum):
    """Object classes."""

    DATA = 0
    CERTIFICATE = 1
    PUBLIC_KEY = 2
    PRIVATE_KEY = 3
    SECRET_KEY = 4


class CKK(IntEnum):
    """Key types."""

    RSA = 0


class CKM(IntEnum):
    """Mechanisms."""

    RSA_PKCS_KEY_PAIR_GEN = 0x000
    RSA_PKCS = 0x001
    RSA_X_509 = 0x003
    RSA_PKCS_OAEP = 0x009
    SHA256 = 0x250


class CKG(IntEnum):
    """Mask generation functions."""

    MGF1_SHA256 = 2


class CKU(IntEnum):
    """User types."""

    SO = 0
    USER = 1


class CKS(IntEnum):
    """Session states."""

    RO_PUBLIC_SESSION = 0
    RO_USER_FUNCTIONS = 1
    RW_PUBLIC_SESSION = 2
    RW_USER_FUNCTIONS = 3


class CKF(IntEnum):
    """Flags; the name says of what (slot, token, session, mechanism)."""

    SLOT_TOKEN_PRESENT = 0x1
    SLOT_REMOVABLE_DEVICE = 0x2
    SLOT_HW_SLOT = 0x4
    TOKEN_RNG = 0x1
    TOKEN_LOGIN_REQUIRED = 0x4
    TOKEN_USER_PIN_INITIALIZED = 0x8
    TOKEN_PROTECTED_AUTHENTICATION_PATH = 0x100
    TOKEN_INITIALIZED = 0x400
    TOKEN_USER_PIN_COUNT_LOW = 0x10000
    TOKEN_USER_PIN_FINAL_TRY = 0x20000
    TOKEN_USER_PIN_LOCKED = 0x40000
    SESSION_RW = 0x2
    SESSION_SERIAL = 0x4
    MECHANISM_HW = 0x1
    MECHANISM_DECRYPT = 0x200
    MECHANISM_GENERATE_KEY_PAIR = 0x10000


CK_TRUE = b"\x01"
CK_FALSE = b"\x00"

Template = tuple[tuple[int, bytes], ...]


def encode_ulong(value: int) -> bytes:
    """Return a CK_ULONG as four big-endian bytes."""
    return value.to_bytes(4, "big")


def decode_ulong(value: bytes) -> int:
    """Return the CK_ULONG of exactly four big-endian bytes; `ProtocolError` for any other length."""
    if len(value) != 4:
        raise ProtocolError(f"a CK_ULONG is 4 bytes, not {len(value)}")
    return int.from_bytes(value, "big")


def encode_bool(value: bool) -> bytes:
    """Return a CK_BBOOL."""
    return CK_TRUE if value else CK_FALSE


def encode_big_integer(value: int) -> bytes:
    """Return an unsigned big integer without leading zeros (PKCS#11 v2.40, 2.1)."""
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def encode_template(template: Template) -> bytes:
    """Return the bytes of a template: repeated {u32 type, u16 length, value}."""
    return b"".join(_ATTRIBUTE.pack(kind, len(value)) + value for kind, value in template)


def decode_template(data: bytes) -> Template:
    """Return the attributes of a template, in order.

    Raises:
        ProtocolError: bytes are left over or missing, a type is given twice, or a bound is exceeded.
    """
    if len(data) > MAX_TEMPLATE_BYTES:
        raise ProtocolError("template too long")
    attributes: list[tuple[int, bytes]] = []
    offset = 0
    while offset < len(data):
        if len(data) - offset < _ATTRIBUTE.size:
            raise ProtocolError("template ends inside an attribute")
        kind, length = _ATTRIBUTE.unpack_from(data, offset)
        offset += _ATTRIBUTE.size
        if length > len(data) - offset:
            raise ProtocolError("template ends inside a value")
        attributes.append((kind, data[offset : offset + length]))
        offset += length
    if len(attributes) > MAX_TEMPLATE_ATTRIBUTES:
        raise ProtocolError("template has too many attributes")
    if len({kind for kind, _ in attributes}) != len(attributes):
        raise ProtocolError("template names an attribute twice")
    return tuple(attributes)


@dataclass(frozen=True)
class OaepParameters:
    """Parameters of CKM_RSA_PKCS_OAEP: {u32 hash mechanism, u32 mask generation, u16 label length, label}."""

    hash_mechanism: int = CKM.SHA256
    mask_generation: int = CKG.MGF1_SHA256
    label: bytes = b""

    def encode(self) -> bytes:
        """Return the wire form."""
        return _OAEP.pack(self.hash_mechanism, self.mask_generation, len(self.label)) + self.label

    @classmethod
    def decode(cls, data: bytes) -> OaepParameters:
        """Parse the wire form; `ProtocolError` if it is short, long or its label exceeds 256 bytes."""
        if len(data) < _OAEP.size:
            raise ProtocolError("OAEP parameters are too short")
        hash_mechanism, mask_generation, length = _OAEP.unpack_from(data)
        label = data[_OAEP.size :]
        if len(label) != length or length > MAX_LABEL_BYTES:
            raise ProtocolError("OAEP label has the wrong length")
        return cls(hash_mechanism, mask_generation, label)


OAEP_SHA256 = OaepParameters()
