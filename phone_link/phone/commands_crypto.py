"""`*PDEC *PRAND`: work with the keys (C_DecryptInit and C_Decrypt in one, C_GenerateRandom)."""

from __future__ import annotations

from phone_link.at.types import Command, Response
from phone_link.cryptoki import CKM, CKR, OaepParameters
from phone_link.errors import KeyNotFound, PhoneError, PinRequired, ProtocolError
from phone_link.phone.commands_object import object_of
from phone_link.phone.commands_session import check_session
from phone_link.phone.security_manager import Connection, SecurityManager
from phone_link.wipe import wipe

MAX_RANDOM_BYTES = 256
MAX_CRYPTOGRAM_BYTES = 512


def decrypt(manager: SecurityManager, connection: Connection, command: Command) -> Response:
    """C_Decrypt with CKM_RSA_PKCS_OAEP.

    CKM_RSA_PKCS (version 1.5 padding) and CKM_RSA_X_509 are refused: whoever may ask often and sees whether a
    cryptogram was well formed can decrypt with the phone as an oracle (Bleichenbacher 1998). For the same
    reason all faults of a cryptogram give one answer, CKR_ENCRYPTED_DATA_INVALID.

    Raises:
        PhoneError: CKR_MECHANISM_INVALID, CKR_MECHANISM_PARAM_INVALID.
        PinRequired, KeyNotFound, UserRefused, DecryptFailed
    """
    session, mechanism, handle, data = command.expect_arguments(4, 4)
    check_session(connection, session)
    if mechanism.hex_integer() != CKM.RSA_PKCS_OAEP:
        raise PhoneError(CKR.MECHANISM_INVALID, "only CKM_RSA_PKCS_OAEP decrypts")
    parameters = _oaep_parameters(mechanism.hex_bytes())
    if data.token:
        raise ProtocolError("*PDEC: the cryptogram is quoted bytes")
    ciphertext = data.hex_bytes()
    if len(ciphertext) > MAX_CRYPTOGRAM_BYTES:
        raise PhoneError(CKR.DATA_LEN_RANGE, "the cryptogram is too long")
    if not manager.is_logged_in(connection):
        raise PinRequired()
    found = object_of(manager, connection, handle)
    if found is None or not found.is_private:
        raise KeyNotFound()
    key = found.key
    secret = manager.use_key(
        connection, key, "unlock", lambda: manager.module.decrypt_oaep(key.id, parameters, ciphertext)
    )
    try:
        return Response((f'*PDEC: "{secret.hex().upper()}"',))
    finally:
        wipe(secret)


def _oaep_parameters(data: bytes) -> OaepParameters:
    try:
        return OaepParameters.decode(data)
    except ProtocolError:
        raise PhoneError(CKR.MECHANISM_PARAM_INVALID, "the OAEP parameters are malformed") from None


def generate_random(manager: SecurityManager, connection: Connection, command: Command) -> Response:
    """C_GenerateRandom, 1 … 256 bytes."""
    session, count_given = command.expect_arguments(2, 2)
    check_session(connection, session)
    count = count_given.integer()
    if not 1 <= count <= MAX_RANDOM_BYTES:
        raise PhoneError(CKR.ARGUMENTS_BAD, "1 to 256 bytes")
    return Response((f'*PRAND: "{manager.module.random(count).hex().upper()}"',))
