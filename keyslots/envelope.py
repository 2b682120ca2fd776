"""The file around the header (docs/format.md 1.1): checksum against damage, MAC against tampering. Pure."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

from . import canonical
from .derive import hmac_sha256
from .errors import BadParameter, HeaderDamaged, HeaderTampered, HeaderTooNew
from .header import MAC_BYTES, Header, parse_header
from .schema import SchemaError, exact_hex, members
from .secret import Secret

MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class SealedHeader:
    """A header as read: well formed, but its MAC is not verified yet (see `keyslots.unlock`)."""

    header: Header
    mac: bytes

    def encode(self) -> bytes:
        """Return the bytes of the file it was read from (there is one canonical form)."""
        return _with_checksum({"header": self.header.to_json(), "mac": self.mac.hex()})


def encode_file(header: Header, key: Secret) -> bytes:
    """Return the bytes of the header file.

    Args:
        header: what to write.
        key: header key of the header's current epoch (`keyslots.derive.header_key`).

    Raises:
        BadParameter: the header breaks its own schema, so that no reader would accept it.
    """
    try:
        parse_header(header.to_json())
        body = header.encode()
    except (HeaderTampered, HeaderTooNew, canonical.NotCanonical) as error:
        raise BadParameter(f"this header cannot be written: {error}") from error
    content: dict[str, Any] = {"header": header.to_json(), "mac": hmac_sha256(key, body).hex()}
    data = _with_checksum(content)
    if len(data) > MAX_FILE_BYTES:
        raise BadParameter("this header cannot be written: it is longer than 1 MiB")
    return data


def parse_file(data: bytes) -> SealedHeader:
    """Read one copy of the header file.

    Raises:
        HeaderDamaged: not canonical JSON, not an envelope, wrong checksum, or over 1 MiB.
        HeaderTooNew: the checksum is right, the version or a flag unknown.
        HeaderTampered: the checksum is right, something else is not.
    """
    if len(data) > MAX_FILE_BYTES:
        raise HeaderDamaged("the header is longer than 1 MiB")
    try:
        if not data.endswith(b"\n"):
            raise SchemaError("the header does not end with a line feed")
        fields = members(canonical.decode(data[:-1]), ("checksum", "header", "mac"), "the file")
        checksum = exact_hex(fields.pop("checksum"), 32, "checksum").hex()
    except (canonical.NotCanonical, SchemaError) as error:
        raise HeaderDamaged(f"the header is damaged: {error}") from error
    if checksum != _checksum(fields):
        raise HeaderDamaged("the header is damaged: its checksum is wrong")
    header = parse_header(fields["header"])
    try:
        return SealedHeader(header, exact_hex(fields["mac"], MAC_BYTES, "mac"))
    except SchemaError as error:
        raise HeaderTampered(f"the vault's header was tampered with: {error}") from error


def verify_mac(sealed: SealedHeader, key: Secret) -> None:
    """Check the MAC, in constant time.

    Raises:
        HeaderTampered: it is not that of the header under `key`.
    """
    if not hmac.compare_digest(hmac_sha256(key, sealed.header.encode()), sealed.mac):
        raise HeaderTampered("the vault's header was tampered with: its MAC is wrong")


def _with_checksum(content: dict[str, Any]) -> bytes:
    return canonical.encode({"checksum": _checksum(content), **content}) + b"\n"


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(canonical.encode(content)).hexdigest()
