"""The phone's side of pairing: the inner handler of an XX channel."""

from __future__ import annotations

from typing import Protocol

from phone_link.at.codec import quote
from phone_link.at.types import Command, Form, Response
from phone_link.errors import (
    CKR_FUNCTION_CANCELED,
    CKR_PAIRING_MISMATCH,
    PhoneError,
    ProtocolError,
    UserRefused,
)
from phone_link.pairing.code import COMMITMENT_BYTES, commitment_fits, fresh_nonce, pairing_code
from phone_link.pairing.names import checked_name

CKR_OPERATION_NOT_INITIALIZED = 0x91
CKR_FUNCTION_NOT_SUPPORTED = 0x54


class PairingHooks(Protocol):
    """What the agent does for a pairing. All are called in the thread of the connection."""

    @property
    def phone_name(self) -> str:
        """The name sent to the computer, 1 … 64 characters."""

    def show(self, code: str, computer_name: str) -> None:
        """Show the six digits and begin to ask the user; return at once."""

    def confirmed(self) -> bool | None:
        """Wait for the user's decision (bounded); None if there was none in time."""

    def store(self, static_public: bytes, computer_name: str) -> None:
        """Remember the computer: both users agreed."""


class PhonePairing:
    """One pairing attempt. A step out of turn or a wrong value ends it; the next needs a new handshake."""

    def __init__(self, handshake_hash: bytes, static_public: bytes, hooks: PairingHooks) -> None:
        self._handshake_hash = handshake_hash
        self._static_public = static_public
        self._hooks = hooks
        self._nonce_b = fresh_nonce()
        self._commitment = b""
        self._computer_name = ""
        self._next_step = 1

    def __call__(self, command: Command) -> Response:
        """Answer `*PPAIR`; nothing else works in a pairing channel."""
        if command.name != "*PPAIR":
            raise PhoneError(CKR_FUNCTION_NOT_SUPPORTED)
        if command.form is not Form.SET:
            raise ProtocolError("*PPAIR: only its set form exists")
        step = command.arguments[0].integer()
        expected, self._next_step = self._next_step, 0
        if step != expected:
            raise PhoneError(CKR_OPERATION_NOT_INITIALIZED)
        answer = {1: self._commit, 2: self._reveal, 3: self._agree}[step](command)
        self._next_step = step + 1 if step < 3 else 0
        return answer

    def _commit(self, command: Command) -> Response:
        self._commitment = command.expect_arguments(2, 2)[1].hex_bytes()
        if len(self._commitment) != COMMITMENT_BYTES:
            raise ProtocolError("*PPAIR: a commitment has 32 bytes")
        return Response((f'*PPAIR: "{self._nonce_b.hex().upper()}"',))

    def _reveal(self, command: Command) -> Response:
        _, revealed, name = command.expect_arguments(3, 3)
        nonce_a = revealed.hex_bytes()
        computer_name = checked_name(name.string())
        if not commitment_fits(self._commitment, nonce_a, self._handshake_hash):
            raise PhoneError(CKR_PAIRING_MISMATCH)
        self._computer_name = computer_name
        self._hooks.show(pairing_code(self._handshake_hash, nonce_a, self._nonce_b), computer_name)
        return Response((f"*PPAIR: {quote(checked_name(self._hooks.phone_name))}",))

    def _agree(self, command: Command) -> Response:
        command.expect_arguments(1, 1)
        agreed = self._hooks.confirmed()
        if agreed is None:
            raise PhoneError(CKR_FUNCTION_CANCELED, "nobody compared the digits on the phone in time")
        if not agreed:
            raise UserRefused("pairing was refused on the phone")
        self._hooks.store(self._static_public, self._computer_name)
        return Response()
