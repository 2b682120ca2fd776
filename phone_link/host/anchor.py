"""Telling the phone about the header of a vault (`*PANCH`, docs/protocol.md 8.1), over any `Commander`."""

from __future__ import annotations

from enum import Enum

from phone_link.at.client import Commander
from phone_link.at.cme import check
from phone_link.at.codec import parse_values
from phone_link.cryptoki import CKR
from phone_link.errors import PhoneError, ProtocolError

COMMAND_TIMEOUT_S = 6.0


class Seen(Enum):
    """What a header is to the phone that it was shown to."""

    UNKNOWN = 0
    """The phone has seen none of this vault."""
    NEWER = 1
    """It is newer than the one the phone remembers, or the phone's user takes it."""
    KNOWN = 2
    """It is the one the phone remembers."""
    UNSUPPORTED = -1
    """The phone remembers no headers: an older program."""


class HeaderWitness:
    """The phone as a witness of headers, for the time of one channel."""

    def __init__(self, commander: Commander) -> None:
        self._commander = commander
        self._supported = True

    def show(self, vault_id: bytes, generation: int, mac: bytes, timeout_s: float) -> Seen:
        """Show a header that was read; nothing of it needs to be verified yet.

        Args:
            vault_id: 16 bytes.
            generation: the header's.
            mac: the header's, 32 bytes.
            timeout_s: seconds the phone's user may take.

        Raises:
            HeaderRolledBack, HeaderForked: the phone knows a newer one, or another one.
            ProtocolError: its answer is malformed.
        """
        answer = self._ask(f"*PANCH=1,{_header(vault_id, generation, mac)}", timeout_s)
        if answer is None:
            return Seen.UNSUPPORTED
        if len(answer) != 1:
            raise ProtocolError("the phone's *PANCH is malformed")
        values = parse_values(answer[0])
        number = values[0].integer() if len(values) == 1 else -1
        if number not in (Seen.UNKNOWN.value, Seen.NEWER.value, Seen.KNOWN.value):
            raise ProtocolError("the phone's *PANCH is malformed")
        return Seen(number)

    def remember(self, vault_id: bytes, generation: int, mac: bytes, tag: bytes) -> bool:
        """Have the phone remember a header that was opened, or written.

        Args:
            vault_id: 16 bytes.
            generation: the header's.
            mac: the header's, 32 bytes.
            tag: 32 bytes, the same for all headers of the vault (docs/format.md 1.4).

        Returns:
            False if it does not: an older program, or it has no room.

        Raises:
            VaultSubstituted, HeaderRolledBack, HeaderForked: it does not fit what the phone knows.
        """
        line = f'*PANCH=2,{_header(vault_id, generation, mac)},"{tag.hex().upper()}"'
        try:
            return self._ask(line, COMMAND_TIMEOUT_S) is not None
        except PhoneError as error:
            if error.ckr == CKR.DEVICE_MEMORY:
                return False
            raise

    def _ask(self, line: str, timeout_s: float) -> tuple[str, ...] | None:
        """Return what follows `*PANCH: `, None if the phone does not have the command."""
        if not self._supported:
            return None
        try:
            return check(self._commander.command(line, timeout_s)).tagged("*PANCH")
        except PhoneError as error:
            if error.ckr != CKR.FUNCTION_NOT_SUPPORTED:
                raise
            self._supported = False
            return None


def _header(vault_id: bytes, generation: int, mac: bytes) -> str:
    return f'"{vault_id.hex().upper()}",{generation},"{mac.hex().upper()}"'
