"""`*PINFO *PSLOTS *PSLOT *PTOK *PMECH`: what this phone is (C_GetInfo … C_GetMechanismInfo)."""

from __future__ import annotations

from phone_link.at.codec import quote
from phone_link.at.types import Argument, Command, Response
from phone_link.cryptoki import CKF, CKM, CKR
from phone_link.errors import PhoneError
from phone_link.phone.module import ModuleInfo
from phone_link.phone.security_manager import Connection, SecurityManager

SLOT = 0
CRYPTOKI_VERSION = "2.40"
MANUFACTURER = "phonevault"
SLOT_DESCRIPTION = "key store of the phone"
VERSION = "0.1.0"

MECHANISMS = {
    CKM.RSA_PKCS_KEY_PAIR_GEN: (2048, 4096, CKF.MECHANISM_GENERATE_KEY_PAIR),
    CKM.RSA_PKCS_OAEP: (2048, 4096, CKF.MECHANISM_DECRYPT),
}
"""Mechanism → fewest bits, most bits, flags."""


def check_slot(argument: Argument) -> int:
    """Return the slot number; CKR_SLOT_ID_INVALID if there is no such slot."""
    number = argument.integer()
    if number != SLOT:
        raise PhoneError(CKR.SLOT_ID_INVALID, "there is only slot 0")
    return number


def get_info(manager: SecurityManager, connection: Connection, command: Command) -> Response:
    """C_GetInfo."""
    values = (CRYPTOKI_VERSION, MANUFACTURER, manager.phone_name, VERSION)
    return Response(("*PINFO: " + ",".join(map(quote, values)),))


def get_slot_list(manager: SecurityManager, connection: Connection, command: Command) -> Response:
    """C_GetSlotList: `<present>` is 0 or 1."""
    (present,) = command.expect_arguments(1, 1)
    if present.integer() not in (0, 1):
        raise PhoneError(CKR.ARGUMENTS_BAD, "the argument is 0 or 1")
    return Response((f"*PSLOTS: {SLOT}",))


def get_slot_info(manager: SecurityManager, connection: Connection, command: Command) -> Response:
    """C_GetSlotInfo."""
    (slot,) = command.expect_arguments(1, 1)
    number = check_slot(slot)
    flags = CKF.SLOT_TOKEN_PRESENT
    return Response((f"*PSLOT: {number},{quote(SLOT_DESCRIPTION)},{quote(MANUFACTURER)},{flags:X}",))


def get_token_info(manager: SecurityManager, connection: Connection, command: Command) -> Response:
    """C_GetTokenInfo, with the PIN tries left."""
    (slot,) = command.expect_arguments(1, 1)
    number = check_slot(slot)
    info = manager.module.info()
    texts = ",".join(map(quote, (info.label, info.manufacturer, info.model, info.serial)))
    pin = f"{info.pin_tries_left},{info.shortest_pin},{info.longest_pin}"
    return Response((f"*PTOK: {number},{texts},{_token_flags(info):X},{pin}",))


def _token_flags(info: ModuleInfo) -> int:
    flags = (
        CKF.TOKEN_RNG
        | CKF.TOKEN_LOGIN_REQUIRED
        | CKF.TOKEN_USER_PIN_INITIALIZED
        | CKF.TOKEN_PROTECTED_AUTHENTICATION_PATH
        | CKF.TOKEN_INITIALIZED
    )
    if info.pin_tries_left < info.pin_tries_total:
        flags |= CKF.TOKEN_USER_PIN_COUNT_LOW
    if info.pin_tries_left == 1:
        flags |= CKF.TOKEN_USER_PIN_FINAL_TRY
    if info.pin_tries_left == 0:
        flags |= CKF.TOKEN_USER_PIN_LOCKED
    return int(flags)


def get_mechanisms(manager: SecurityManager, connection: Connection, command: Command) -> Response:
    """C_GetMechanismList, and C_GetMechanismInfo if a mechanism is given."""
    slot, *wanted = command.expect_arguments(1, 2)
    check_slot(slot)
    if not wanted:
        return Response(("*PMECH: " + ",".join(f"{mechanism:X}" for mechanism in MECHANISMS),))
    number = wanted[0].hex_integer()
    for mechanism, (fewest, most, flags) in MECHANISMS.items():
        if mechanism == number:
            return Response((f"*PMECH: {number:X},{fewest},{most},{flags:X}",))
    raise PhoneError(CKR.MECHANISM_INVALID, "no such mechanism")
