"""`*PFIND *PATTR *PGENKP`: objects of the token (C_FindObjects…, C_GetAttributeValue, C_GenerateKeyPair)."""

from __future__ import annotations

from phone_link.at.types import Argument, Command, Response
from phone_link.cryptoki import (
    CK_FALSE,
    CK_TRUE,
    CKA,
    CKK,
    CKM,
    CKO,
    CKR,
    Template,
    decode_template,
    decode_ulong,
    encode_big_integer,
    encode_ulong,
)
from phone_link.errors import PhoneError
from phone_link.phone.commands_session import check_session
from phone_link.phone.keyfile import MAX_ID_BYTES, MAX_LABEL
from phone_link.phone.module import NewKey
from phone_link.phone.objects import TokenObject
from phone_link.phone.security_manager import Connection, SecurityManager
from phone_link.phone.software import PUBLIC_EXPONENT

MAX_FOUND = 32
MAX_ATTRIBUTES = 32

_FIXED_PUBLIC = {
    CKA.CLASS: encode_ulong(CKO.PUBLIC_KEY),
    CKA.KEY_TYPE: encode_ulong(CKK.RSA),
    CKA.TOKEN: CK_TRUE,
    CKA.PRIVATE: CK_FALSE,
    CKA.PUBLIC_EXPONENT: encode_big_integer(PUBLIC_EXPONENT),
    CKA.WRAP: CK_FALSE,
    CKA.VERIFY_RECOVER: CK_FALSE,
}
_FIXED_PRIVATE = {
    CKA.CLASS: encode_ulong(CKO.PRIVATE_KEY),
    CKA.KEY_TYPE: encode_ulong(CKK.RSA),
    CKA.TOKEN: CK_TRUE,
    CKA.PRIVATE: CK_TRUE,
    CKA.SENSITIVE: CK_TRUE,
    CKA.EXTRACTABLE: CK_FALSE,
    CKA.UNWRAP: CK_FALSE,
    CKA.SIGN_RECOVER: CK_FALSE,
}
"""Attributes a template may give only with the value the key will have anyway."""


def handle_for(connection: Connection, found: TokenObject) -> int:
    """Return the handle of an object in this connection; the same one each time."""
    identity = (found.key.id, found.is_private)
    for handle, known in connection.handles.items():
        if known == identity:
            return handle
    handle = len(connection.handles) + 1
    connection.handles[handle] = identity
    return handle


def object_of(manager: SecurityManager, connection: Connection, argument: Argument) -> TokenObject | None:
    """Return the object of a handle if this connection may see it (now), else None."""
    identity = connection.handles.get(argument.integer())
    for candidate in manager.visible_objects(connection):
        if (candidate.key.id, candidate.is_private) == identity:
            return candidate
    return None


def find_objects(manager: SecurityManager, connection: Connection, command: Command) -> Response:
    """C_FindObjectsInit, C_FindObjects, C_FindObjectsFinal in one."""
    session, *given = command.expect_arguments(1, 2)
    check_session(connection, session)
    template = decode_template(given[0].hex_bytes()) if given else ()
    found = [half for half in manager.visible_objects(connection) if half.matches(template)]
    numbers = [handle_for(connection, half) for half in found[:MAX_FOUND]]
    numbers.append(1 if len(found) > MAX_FOUND else 0)
    return Response(("*PFIND: " + ",".join(map(str, numbers)),))


def get_attributes(manager: SecurityManager, connection: Connection, command: Command) -> Response:
    """C_GetAttributeValue: one line for each type asked for, each with its own CKR."""
    session, handle, *types = command.expect_arguments(3, 2 + MAX_ATTRIBUTES)
    check_session(connection, session)
    found = object_of(manager, connection, handle)
    if found is None:
        raise PhoneError(CKR.OBJECT_HANDLE_INVALID, "no such object")
    return Response(tuple(_attribute_line(found, kind.hex_integer()) for kind in types))


def _attribute_line(found: TokenObject, kind: int) -> str:
    if found.is_sensitive(kind):
        return f"*PATTR: {kind:X},{CKR.ATTRIBUTE_SENSITIVE:X},0"
    value = found.attributes.get(kind)
    if value is None:
        return f"*PATTR: {kind:X},{CKR.ATTRIBUTE_TYPE_INVALID:X},0"
    return f'*PATTR: {kind:X},{CKR.OK:X},{len(value)},"{value.hex().upper()}"'


def generate_key_pair(manager: SecurityManager, connection: Connection, command: Command) -> Response:
    """C_GenerateKeyPair, CKM_RSA_PKCS_KEY_PAIR_GEN. The user is always asked.

    Raises:
        PhoneError: CKR_SESSION_READ_ONLY, CKR_MECHANISM_INVALID, CKR_TEMPLATE_INCOMPLETE, CKR_ATTRIBUTE_…,
            CKR_KEY_SIZE_RANGE; and those of `SecurityManager.use_key`.
    """
    session, mechanism, public, private = command.expect_arguments(4, 4)
    if not connection.sessions[check_session(connection, session)]:
        raise PhoneError(CKR.SESSION_READ_ONLY, "the session is read-only")
    if mechanism.hex_integer() != CKM.RSA_PKCS_KEY_PAIR_GEN or mechanism.text is not None:
        raise PhoneError(CKR.MECHANISM_INVALID, "only RSA key pairs without parameters")
    request = key_request(decode_template(public.hex_bytes()), decode_template(private.hex_bytes()))
    key = manager.use_key(connection, None, "make a new key", lambda: manager.module.generate(request))
    halves = [half for half in manager.visible_objects(connection) if half.key.id == key.id]
    return Response((f"*PGENKP: {handle_for(connection, halves[0])},{handle_for(connection, halves[1])}",))


def key_request(public: Template, private: Template) -> NewKey:
    """Return the key pair two templates ask for; unknown attributes are refused."""
    wanted = _merge(_free_attributes(public, _FIXED_PUBLIC), _free_attributes(private, _FIXED_PRIVATE))
    if CKA.MODULUS_BITS not in wanted:
        raise PhoneError(CKR.TEMPLATE_INCOMPLETE, "CKA_MODULUS_BITS is missing")
    usage = ["decrypt"] if _pair(wanted, CKA.ENCRYPT, CKA.DECRYPT) else []
    if _pair(wanted, CKA.VERIFY, CKA.SIGN):
        usage.append("sign")
    if not usage:
        raise PhoneError(CKR.TEMPLATE_INCONSISTENT, "the key would be good for nothing")
    try:
        label = wanted.get(CKA.LABEL, b"").decode()
    except UnicodeDecodeError:
        raise PhoneError(CKR.ATTRIBUTE_VALUE_INVALID, "CKA_LABEL is not UTF-8") from None
    key_id = wanted.get(CKA.ID, b"")
    if not label.isprintable() or len(label) > MAX_LABEL or len(key_id) > MAX_ID_BYTES:
        raise PhoneError(CKR.ATTRIBUTE_VALUE_INVALID, "CKA_LABEL or CKA_ID is not acceptable")
    return NewKey(decode_ulong(wanted[CKA.MODULUS_BITS]), label, key_id, tuple(usage))


def _free_attributes(template: Template, fixed: dict[CKA, bytes]) -> dict[int, bytes]:
    """Return the attributes that choose something; those with a fixed value must have just that."""
    free = {CKA.LABEL, CKA.ID}
    free |= {CKA.ENCRYPT, CKA.VERIFY, CKA.MODULUS_BITS} if fixed is _FIXED_PUBLIC else {CKA.DECRYPT, CKA.SIGN}
    chosen: dict[int, bytes] = {}
    for kind, value in template:
        if kind in free:
            chosen[kind] = value
        elif kind not in fixed:
            raise PhoneError(CKR.ATTRIBUTE_TYPE_INVALID, "an attribute of the template is not known")
        elif fixed[CKA(kind)] != value:
            raise PhoneError(CKR.ATTRIBUTE_VALUE_INVALID, "an attribute of the template has a wrong value")
    return chosen


def _merge(public: dict[int, bytes], private: dict[int, bytes]) -> dict[int, bytes]:
    """Join both templates; label and id, where given twice, must agree."""
    if any(private[kind] != public[kind] for kind in public.keys() & private.keys()):
        raise PhoneError(CKR.TEMPLATE_INCONSISTENT, "the templates do not agree")
    return public | private


def _pair(wanted: dict[int, bytes], public: CKA, private: CKA) -> bool:
    """Return whether the private half shall do something; the public half must not say otherwise."""
    values = [wanted[kind] for kind in (public, private) if kind in wanted]
    if any(value not in (CK_TRUE, CK_FALSE) for value in values):
        raise PhoneError(CKR.ATTRIBUTE_VALUE_INVALID, "a CK_BBOOL is 00 or 01")
    if len(set(values)) > 1:
        raise PhoneError(CKR.TEMPLATE_INCONSISTENT, "the templates do not agree")
    return CK_TRUE in values
