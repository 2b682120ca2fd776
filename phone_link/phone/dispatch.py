"""From an inner AT command to the function that answers it."""

from __future__ import annotations

from collections.abc import Callable

from phone_link.at.types import Command, Form, Handler, Response
from phone_link.cryptoki import CKR
from phone_link.errors import PhoneError, ProtocolError
from phone_link.phone import (
    commands_anchor,
    commands_crypto,
    commands_info,
    commands_object,
    commands_session,
)
from phone_link.phone.errors import StoreError
from phone_link.phone.security_manager import Connection, SecurityManager

Function = Callable[[SecurityManager, Connection, Command], Response]

COMMANDS: dict[str, tuple[Form, Function]] = {
    "*PINFO": (Form.READ, commands_info.get_info),
    "*PSLOTS": (Form.SET, commands_info.get_slot_list),
    "*PSLOT": (Form.SET, commands_info.get_slot_info),
    "*PTOK": (Form.SET, commands_info.get_token_info),
    "*PMECH": (Form.SET, commands_info.get_mechanisms),
    "*POPEN": (Form.SET, commands_session.open_session),
    "*PCLOSE": (Form.SET, commands_session.close_session),
    "*PCLOSEALL": (Form.SET, commands_session.close_all_sessions),
    "*PSES": (Form.SET, commands_session.get_session_info),
    "*PLOGIN": (Form.SET, commands_session.login),
    "*PLOGOUT": (Form.SET, commands_session.logout),
    "*PREASON": (Form.SET, commands_session.set_reason),
    "*PFIND": (Form.SET, commands_object.find_objects),
    "*PATTR": (Form.SET, commands_object.get_attributes),
    "*PGENKP": (Form.SET, commands_object.generate_key_pair),
    "*PDEC": (Form.SET, commands_crypto.decrypt),
    "*PRAND": (Form.SET, commands_crypto.generate_random),
    "*PANCH": (Form.SET, commands_anchor.anchor_header),
}


def handler_for(manager: SecurityManager, connection: Connection) -> Handler:
    """Return the inner handler of one connection.

    It raises `PhoneError` and `ProtocolError` only: trouble with the phone's own store is CKR_DEVICE_ERROR
    for the computer, and no reason to end the connection.
    """

    def handle(command: Command) -> Response:
        entry = COMMANDS.get(command.name)
        if entry is None:
            raise PhoneError(CKR.FUNCTION_NOT_SUPPORTED, "not supported")
        form, function = entry
        if command.form is Form.TEST:
            return Response()
        if command.form is not form:
            raise ProtocolError(f"{command.name}: this form does not exist")
        try:
            return function(manager, connection, command)
        except (StoreError, OSError) as error:
            manager.report_trouble(connection, error)
            raise PhoneError(CKR.DEVICE_ERROR, "the phone's store failed") from error

    return handle
