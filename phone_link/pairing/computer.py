"""The computer's side of pairing, inside the channel of a finished XX handshake."""

from __future__ import annotations

from collections.abc import Callable

from phone_link.at.client import Commander
from phone_link.at.cme import check
from phone_link.at.codec import parse_values, quote
from phone_link.at.types import Argument
from phone_link.errors import CKR_FUNCTION_CANCELED, PairingRefused, PhoneError, ProtocolError, UserRefused
from phone_link.pairing.code import NONCE_BYTES, commitment, fresh_nonce, pairing_code
from phone_link.pairing.names import checked_name

STEP_TIMEOUT_S = 10.0
CONSENT_TIMEOUT_S = 120.0
"""How long the phone's user may take to compare the digits."""
_IN_TIME = "pair again, and answer on the phone while it asks (45 s): are the six digits the same?"


def agree(
    commander: Commander, handshake_hash: bytes, computer_name: str, confirm: Callable[[str], bool]
) -> str:
    """Run the three steps of pairing and return the phone's name.

    Args:
        commander: the inner commander of the XX channel.
        handshake_hash: of that channel.
        computer_name: shown on the phone and stored there, 1 … 64 characters.
        confirm: shows the six digits to the computer's user; True if the phone shows the same.

    Raises:
        PairingRefused: one of the users did not agree, or the phone's did not answer in time.
        PairingMismatch: the phone found the commitment wrong.
        LinkError: the link failed.
    """
    checked_name(computer_name)
    nonce_a = fresh_nonce()
    committed = commitment(nonce_a, handshake_hash)
    nonce_b = _value(commander, f'*PPAIR=1,"{committed.hex().upper()}"').hex_bytes()
    if len(nonce_b) != NONCE_BYTES:
        raise ProtocolError("the phone's pairing answer is malformed")
    reveal = f'*PPAIR=2,"{nonce_a.hex().upper()}",{quote(computer_name)}'
    phone_name = checked_name(_value(commander, reveal).string())
    if not confirm(pairing_code(handshake_hash, nonce_a, nonce_b)):
        commander.close()
        raise PairingRefused("pairing was refused on this computer")
    try:
        check(commander.command("*PPAIR=3", CONSENT_TIMEOUT_S))
    except UserRefused:
        raise PairingRefused("pairing was refused on the phone") from None
    except PhoneError as error:
        if error.ckr != CKR_FUNCTION_CANCELED:
            raise
        raise PairingRefused("nobody answered on the phone in time", hint=_IN_TIME) from None
    return phone_name


def _value(commander: Commander, line: str) -> Argument:
    lines = check(commander.command(line, STEP_TIMEOUT_S)).tagged("*PPAIR")
    values = parse_values(lines[0]) if len(lines) == 1 else ()
    if len(values) != 1:
        raise ProtocolError("the phone's pairing answer is malformed")
    return values[0]
