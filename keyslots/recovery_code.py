"""The recovery code: 160 random bits and a 20-bit checksum in Crockford's base32 (docs/format.md 1.3). Pure.

No Python integer ever holds the code: it is moved five bits at a time between wipeable buffers.
"""

from __future__ import annotations

import hashlib
import hmac

from .errors import BadRecoveryCode
from .labels import RECOVERY_CODE
from .memory import wipe, wipe_bytes
from .secret import Secret

CODE_BYTES = 20
CHARACTERS = 36
_GROUP = 4
_ALPHABET = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_IGNORED = b" \t\r\n-"
_MAX_TYPED = 256

_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_VALUES |= {ord(chr(character).lower()): value for character, value in _VALUES.items()}
_VALUES |= {ord("O"): 0, ord("o"): 0, ord("I"): 1, ord("i"): 1, ord("L"): 1, ord("l"): 1}


def _checksum(code: memoryview) -> bytearray:
    """Return the first 20 bits of SHA-256(label ‖ code) as four values of five bits."""
    state = hashlib.sha256(RECOVERY_CODE)
    state.update(code)
    digest = state.digest()
    values = _to_fives(memoryview(digest)[:5])[:4]
    wipe_bytes(digest)
    return values


def _to_fives(data: memoryview) -> bytearray:
    """Split bytes (a multiple of five) into values of five bits, most significant bit first."""
    values = bytearray()
    for start in range(0, len(data), 5):
        pending = bits = 0
        for byte in data[start : start + 5]:
            pending, bits = (pending << 8 | byte) & 0xFFF, bits + 8
            while bits >= 5:
                bits -= 5
                values.append(pending >> bits & 31)
    return values


def _from_fives(values: memoryview, output: memoryview) -> None:
    """Join values of five bits into bytes, most significant bit first; `output` is filled exactly."""
    pending = bits = position = 0
    for value in values:
        pending, bits = (pending << 5 | value) & 0xFFF, bits + 5
        if bits >= 8:
            bits -= 8
            output[position] = pending >> bits & 0xFF
            position += 1


def format_code(code: Secret) -> bytearray:
    """Return the code as it is printed, nine groups of four joined by `-`, ASCII; the caller wipes it."""
    values = _to_fives(code.view)
    check = _checksum(code.view)
    text = bytearray()
    for position, value in enumerate(values + check):
        if position and position % _GROUP == 0:
            text += b"-"
        text.append(_ALPHABET[value])
    wipe(values)
    return text


def parse_code(typed: str | bytes | bytearray) -> Secret:
    """Return the 20 bytes of a code as typed: case, blanks and hyphens do not count, O is 0, I and L are 1.

    Raises:
        BadRecoveryCode: a character, the length or the checksum is wrong (a typing error, not another
            vault's code).
    """
    values = bytearray()
    try:
        for character in _characters(typed):
            if character in _IGNORED:
                continue
            if character not in _VALUES or len(values) == CHARACTERS:
                raise BadRecoveryCode("this is not a recovery code")
            values.append(_VALUES[character])
        if len(values) != CHARACTERS:
            raise BadRecoveryCode(f"a recovery code has {CHARACTERS} characters, this has {len(values)}")
        code = Secret(CODE_BYTES)
        _from_fives(memoryview(values)[:32], code.view)
        if not hmac.compare_digest(_checksum(code.view), values[32:]):
            code.wipe()
            raise BadRecoveryCode("the recovery code has a typing error")
        return code
    finally:
        wipe(values)


def wrong_groups(right: str, typed: bytes | bytearray) -> list[int]:
    """Compare a code as typed with the one that was shown.

    Args:
        right: as `format_code` prints it.
        typed: as typed.

    Returns:
        The groups that differ, counted from 1; empty if `parse_code` gives the same for both. What is too much is a tenth group.
    """
    groups = range(1, CHARACTERS // _GROUP + 1)
    if len(typed) > _MAX_TYPED:
        return list(groups)
    encoded = right.encode("ascii")
    wanted, found = _symbols(encoded), _symbols(typed)
    wipe_bytes(encoded)
    try:
        wrong = [
            n for n in groups if wanted[(n - 1) * _GROUP : n * _GROUP] != found[(n - 1) * _GROUP : n * _GROUP]
        ]
        return wrong + ([len(groups) + 1] if len(found) > CHARACTERS else [])
    finally:
        wipe(wanted)
        wipe(found)


def _symbols(typed: bytes | bytearray) -> bytearray:
    """Values of five bits; 0xFF for what no code has."""
    return bytearray(_VALUES.get(character, 0xFF) for character in typed if character not in _IGNORED)


def _characters(typed: str | bytes | bytearray) -> list[int]:
    if len(typed) > _MAX_TYPED:
        raise BadRecoveryCode("this is not a recovery code")
    codes = [ord(c) for c in typed] if isinstance(typed, str) else list(typed)
    if codes and max(codes) > 0x7F:
        raise BadRecoveryCode("this is not a recovery code")
    return codes
