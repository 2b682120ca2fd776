"""`*POPEN *PCLOSE *PCLOSEALL *PSES *PLOGIN *PLOGOUT *PREASON`: sessions, login, reasons."""

from __future__ import annotations

from phone_link.at.types import Argument, Command, Response
from phone_link.cryptoki import CKF, CKR, CKS, CKU
from phone_link.errors import PhoneError, ProtocolError
from phone_link.phone.commands_info import SLOT, check_slot
from phone_link.phone.display import printable
from phone_link.phone.pin import MAX_PIN
from phone_link.phone.security_manager import MAX_SESSIONS, Connection, SecurityManager
from phone_link.wipe import wipe

MAX_REASON = 128


def check_session(connection: Connection, argument: Argument) -> int:
    """Return the session handle; CKR_SESSION_HANDLE_INVALID if it is not open."""
    handle = argument.integer()
    if handle not in connection.sessions:
        raise PhoneError(CKR.SESSION_HANDLE_INVALID, "no such session")
    return handle


def open_session(manager: SecurityManager, connection: Connection, command: Command) -> Response:
    """C_OpenSession; at most 8 a connection (CKR_SESSION_COUNT)."""
    slot, flags_given = command.expect_arguments(2, 2)
    check_slot(slot)
    flags = flags_given.hex_integer()
    if not flags & CKF.SESSION_SERIAL:
        raise PhoneError(CKR.SESSION_PARALLEL_NOT_SUPPORTED, "CKF_SERIAL_SESSION must be set")
    if flags & ~(CKF.SESSION_SERIAL | CKF.SESSION_RW):
        raise PhoneError(CKR.ARGUMENTS_BAD, "unknown session flags")
    if len(connection.sessions) >= MAX_SESSIONS:
        raise PhoneError(CKR.SESSION_COUNT, "too many sessions")
    handle = connection.next_session
    connection.next_session += 1
    connection.sessions[handle] = bool(flags & CKF.SESSION_RW)
    return Response((f"*POPEN: {handle}",))


def close_session(manager: SecurityManager, connection: Connection, command: Command) -> Response:
    """C_CloseSession; closing the last one logs the connection out."""
    (session,) = command.expect_arguments(1, 1)
    del connection.sessions[check_session(connection, session)]
    if not connection.sessions:
        manager.disconnect(connection)
    return Response()


def close_all_sessions(manager: SecurityManager, connection: Connection, command: Command) -> Response:
    """C_CloseAllSessions."""
    (slot,) = command.expect_arguments(1, 1)
    check_slot(slot)
    manager.disconnect(connection)
    return Response()


def get_session_info(manager: SecurityManager, connection: Connection, command: Command) -> Response:
    """C_GetSessionInfo."""
    (session,) = command.expect_arguments(1, 1)
    handle = check_session(connection, session)
    read_write = connection.sessions[handle]
    states = {
        (False, False): CKS.RO_PUBLIC_SESSION,
        (False, True): CKS.RO_USER_FUNCTIONS,
        (True, False): CKS.RW_PUBLIC_SESSION,
        (True, True): CKS.RW_USER_FUNCTIONS,
    }
    state = states[read_write, manager.is_logged_in(connection)]
    flags = CKF.SESSION_SERIAL | (CKF.SESSION_RW if read_write else 0)
    return Response((f"*PSES: {handle},{SLOT},{state:d},{flags:X}",))


def login(manager: SecurityManager, connection: Connection, command: Command) -> Response:
    """C_Login as CKU_USER; without a PIN it is typed on the phone."""
    session, user, *given = command.expect_arguments(2, 3)
    check_session(connection, session)
    if user.integer() != CKU.USER:
        raise PhoneError(CKR.USER_TYPE_INVALID, "only the user (1) can log in")
    if not given:
        manager.login(connection, None)
        return Response()
    text = given[0].string()
    pin = bytearray(text.encode())
    wipe(text)
    try:
        if len(pin) > MAX_PIN:  # not counted: no PIN can be so long
            raise PhoneError(CKR.PIN_LEN_RANGE, "the PIN is too long")
        manager.login(connection, pin)
    finally:
        wipe(pin)
    return Response()


def logout(manager: SecurityManager, connection: Connection, command: Command) -> Response:
    """C_Logout."""
    (session,) = command.expect_arguments(1, 1)
    check_session(connection, session)
    manager.logout(connection)
    return Response()


def set_reason(manager: SecurityManager, connection: Connection, command: Command) -> Response:
    """Keep what the next private-key operation is for; shown to the user, so made printable."""
    (given,) = command.expect_arguments(1, 1)
    text = given.string()
    if len(text) > MAX_REASON:
        raise ProtocolError("*PREASON: at most 128 characters")
    connection.reason = printable(text, MAX_REASON)
    return Response()
