"""PKCS#11 return values as AT errors: `*PERR: <CKR>[,<tries left>]` and `+CME ERROR: <n>` (TS 27.007 9.2)."""

from __future__ import annotations

from phone_link.at.codec import parse_values
from phone_link.at.types import CmeError, Response
from phone_link.errors import (
    CKR_HEADER_FORKED,
    CKR_HEADER_OLD,
    CKR_PAIRING_MISMATCH,
    CKR_UNKNOWN_PEER,
    CKR_VAULT_SUBSTITUTED,
    PairingMismatch,
    PhoneError,
    PinIncorrect,
    ProtocolError,
    UnknownPeer,
    phone_error,
)

PHONE_FAILURE = 0
NOT_ALLOWED = 3
NOT_SUPPORTED = 4
BAD_PARAMETERS = 50
UNKNOWN_ERROR = 100

CKR_ARGUMENTS_BAD = 0x07

_TEXTS = {
    0: "phone failure",
    1: "no connection to phone",
    3: "operation not allowed",
    4: "operation not supported",
    10: "SIM not inserted",
    11: "SIM PIN required",
    12: "SIM PUK required",
    13: "SIM failure",
    14: "SIM busy",
    16: "incorrect password",
    20: "memory full",
    21: "invalid index",
    22: "not found",
    50: "incorrect parameters",
    100: "unknown",
}

_CME_OF_CKR = {
    0x07: 50,  # ARGUMENTS_BAD
    0x10: 50,  # ATTRIBUTE_READ_ONLY
    0x11: 50,  # ATTRIBUTE_SENSITIVE
    0x12: 50,  # ATTRIBUTE_TYPE_INVALID
    0x13: 50,  # ATTRIBUTE_VALUE_INVALID
    0x21: 50,  # DATA_LEN_RANGE
    0x30: 13,  # DEVICE_ERROR
    0x31: 20,  # DEVICE_MEMORY
    0x50: 3,  # FUNCTION_CANCELED
    0x54: 4,  # FUNCTION_NOT_SUPPORTED
    0x60: 22,  # KEY_HANDLE_INVALID
    0x70: 4,  # MECHANISM_INVALID
    0x82: 22,  # OBJECT_HANDLE_INVALID
    0x90: 3,  # OPERATION_ACTIVE
    0x91: 3,  # OPERATION_NOT_INITIALIZED
    0xA0: 16,  # PIN_INCORRECT
    0xA4: 12,  # PIN_LOCKED
    0xB3: 21,  # SESSION_HANDLE_INVALID
    0xD0: 50,  # TEMPLATE_INCOMPLETE
    0xD1: 50,  # TEMPLATE_INCONSISTENT
    0xE0: 10,  # TOKEN_NOT_PRESENT
    0x101: 11,  # USER_NOT_LOGGED_IN
    0x200: 3,  # FUNCTION_REJECTED
    CKR_UNKNOWN_PEER: 3,
    CKR_PAIRING_MISMATCH: 3,
    CKR_HEADER_OLD: 3,
    CKR_HEADER_FORKED: 3,
    CKR_VAULT_SUBSTITUTED: 3,
}


def cme_of_ckr(ckr: int) -> int:
    """Return the +CME ERROR number for a CKR value, 100 if the table does not have it."""
    return _CME_OF_CKR.get(ckr, UNKNOWN_ERROR)


def cme_text(code: int) -> str:
    """Return the verbose text of a +CME ERROR number (+CMEE=2)."""
    return _TEXTS.get(code, _TEXTS[UNKNOWN_ERROR])


def error_response(error: PhoneError) -> Response:
    """Return the lines and the result code that carry a `PhoneError`."""
    tries = error.tries_left if isinstance(error, PinIncorrect) else None
    detail = "" if tries is None else f",{tries}"
    return Response((f"*PERR: {error.ckr:X}{detail}",), CmeError(cme_of_ckr(error.ckr)))


def check(response: Response) -> Response:
    """Return the response if it is OK.

    Raises:
        PhoneError: (or a subclass) the phone said `*PERR:`.
        UnknownPeer: the phone does not know this computer.
        PairingMismatch: the phone found the commitment wrong.
        ProtocolError: it failed without saying why, or `*PERR:` is malformed.
    """
    if response.ok:
        return response
    reasons = response.tagged("*PERR")
    if not reasons:
        code = f" (+CME ERROR: {response.final.code})" if isinstance(response.final, CmeError) else ""
        raise ProtocolError(f"the phone answered an error{code}")
    values = parse_values(reasons[-1])
    if len(values) > 2:
        raise ProtocolError("the phone's *PERR is malformed")
    ckr = values[0].hex_integer()
    if ckr == CKR_UNKNOWN_PEER:
        raise UnknownPeer("the phone does not know this computer")
    if ckr == CKR_PAIRING_MISMATCH:
        raise PairingMismatch("the phone says the revealed value does not fit its commitment")
    raise phone_error(ckr, values[1].integer() if len(values) == 2 else None)
