"""`*PANCH`: a computer shows the header of a vault, and says that it has opened or written one (docs/protocol.md 8.1)."""

from __future__ import annotations

from phone_link.at.types import Argument, Command, Response
from phone_link.errors import ProtocolError
from phone_link.phone.anchors import MAC_BYTES, MAX_GENERATION, TAG_BYTES, VAULT_ID_BYTES, Shown
from phone_link.phone.security_manager import Connection, SecurityManager

SHOW = 1
REMEMBER = 2


def anchor_header(manager: SecurityManager, connection: Connection, command: Command) -> Response:
    """`*PANCH=1,…` judges a header, `*PANCH=2,…` remembers one.

    Raises:
        HeaderRolledBack, HeaderForked, VaultSubstituted, UserRefused, PhoneError: as `phone_link.phone.witness`.
        ProtocolError: malformed arguments.
    """
    step, vault_id, generation, mac, *tag = command.expect_arguments(4, 5)
    number = step.integer()
    if (number, len(tag)) not in ((SHOW, 0), (REMEMBER, 1)):
        raise ProtocolError("*PANCH: no such step, or not its arguments")
    shown = Shown(_octets(vault_id, VAULT_ID_BYTES), _generation(generation), _octets(mac, MAC_BYTES))
    if number == SHOW:
        return Response((f"*PANCH: {manager.witness.show(connection, shown).value}",))
    manager.witness.remember(connection, shown, _octets(tag[0], TAG_BYTES))
    return Response()


def _octets(argument: Argument, length: int) -> bytes:
    data = argument.hex_bytes()
    if argument.token or len(data) != length:
        raise ProtocolError(f"*PANCH: {length} quoted bytes were expected")
    return data


def _generation(argument: Argument) -> int:
    number = argument.integer()
    if not 1 <= number <= MAX_GENERATION:
        raise ProtocolError("*PANCH: a generation is 1 to 2^53 - 1")
    return number
