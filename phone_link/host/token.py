"""PKCS#11 calls on the phone, as far as unlocking needs them, over any `Commander`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from phone_link.at.client import Commander
from phone_link.at.cme import check
from phone_link.at.codec import escape, parse_values, quote
from phone_link.at.types import Response
from phone_link.cryptoki import CKF, CKM, CKR, CKU, OAEP_SHA256
from phone_link.errors import KeyNotFound, PhoneError, ProtocolError
from phone_link.host import keys
from phone_link.wipe import wipe

SLOT = 0
"""The slot with the decryption key, by definition of the link."""
COMMAND_TIMEOUT_S = 6.0
CONSENT_TIMEOUT_S = 60.0
GENERATE_TIMEOUT_S = 120.0
MAX_REASON_CHARACTERS = 128
MAX_RANDOM_BYTES = 256

_HEX = re.compile(r"(?:[0-9A-F]{2})+\Z")


@dataclass(frozen=True)
class PhoneInfo:
    """What a phone says about itself (`*PINFO`, `*PTOK`)."""

    name: str
    version: str
    manufacturer: str
    model: str
    label: str
    serial: str
    flags: int
    pin_tries_left: int

    @property
    def pin_locked(self) -> bool:
        """True if the PIN is blocked."""
        return bool(self.flags & CKF.TOKEN_USER_PIN_LOCKED)


class Token:
    """One PKCS#11 session on the phone's token, opened when it is first needed."""

    def __init__(self, commander: Commander) -> None:
        self._commander = commander
        self._session: int | None = None
        self._handles: dict[str, int] = {}

    def _run(self, line: str, timeout_s: float = COMMAND_TIMEOUT_S) -> Response:
        return check(self._commander.command(line, timeout_s))

    @staticmethod
    def _only(response: Response, prefix: str) -> str:
        lines = response.tagged(prefix)
        if len(lines) != 1:
            raise ProtocolError(f"the phone's {prefix} is malformed")
        return lines[0]

    def session(self) -> int:
        """Return the session handle (C_OpenSession, read-write)."""
        if self._session is None:
            flags = CKF.SESSION_SERIAL | CKF.SESSION_RW
            values = parse_values(self._only(self._run(f"*POPEN={SLOT},{flags:X}"), "*POPEN"))
            if len(values) != 1:
                raise ProtocolError("the phone's *POPEN is malformed")
            self._session = values[0].integer()
        return self._session

    def login(self, pin: bytearray | None, timeout_s: float = CONSENT_TIMEOUT_S) -> None:
        """Log the user in (C_Login); no error if that has been done.

        Args:
            pin: UTF-8; None lets the user type it on the phone.
            timeout_s: seconds until the link is given up.

        Raises:
            PinIncorrect, PinLocked, UserRefused: and other `PhoneError`.
        """
        line = f"*PLOGIN={self.session()},{CKU.USER}"
        if pin is not None:
            try:
                text = pin.decode("utf-8")
            except UnicodeDecodeError:
                raise ProtocolError("a PIN is UTF-8 text") from None
            escaped = escape(text)
            line = f'{line},"{escaped}"'
            wipe(text)
            wipe(escaped)
        try:
            self._run(line, timeout_s)
        except PhoneError as error:
            if error.ckr != CKR.USER_ALREADY_LOGGED_IN:
                raise
        finally:
            if pin is not None:
                wipe(line)

    def find_decryption_keys(self, key_id: bytes | None = None) -> tuple[int, ...]:
        """Return the handles of RSA decryption keys (C_FindObjects); those before login may be none."""
        return keys.parse_found(self._only(self._run(keys.find_command(self.session(), key_id)), "*PFIND"))

    def public_key(self, handle: int) -> bytes:
        """Return the DER of a key's public part (C_GetAttributeValue)."""
        lines = self._run(keys.attributes_command(self.session(), handle)).tagged("*PATTR")
        return keys.public_key_der(keys.parse_attributes(lines))

    def generate_decryption_key(self) -> int:
        """Return the handle of a new RSA key pair's private key (C_GenerateKeyPair)."""
        response = self._run(keys.generate_command(self.session()), GENERATE_TIMEOUT_S)
        return keys.parse_generated(self._only(response, "*PGENKP"))

    def handle_of(self, fingerprint: str) -> int:
        """Return the handle of the key with this fingerprint (hex); `KeyNotFound` if there is none."""
        cached = self._handles.get(fingerprint)
        if cached is None:
            cached = self._handles[fingerprint] = self._find(fingerprint)
        return cached

    def _find(self, fingerprint: str) -> int:
        try:
            key_id = bytes.fromhex(fingerprint)
        except ValueError:
            raise ProtocolError("a fingerprint is hexadecimal") from None
        handles = self.find_decryption_keys(key_id)
        if handles:
            return handles[0]
        # A card may number its keys instead of naming them by fingerprint.
        for handle in self.find_decryption_keys():
            if keys.fingerprint_of(self.public_key(handle)) == fingerprint.lower():
                return handle
        raise KeyNotFound

    def decrypt(self, handle: int, ciphertext: bytes, reason: str, timeout_s: float) -> bytearray:
        """Return an RSA-OAEP-SHA256 plaintext (C_Decrypt); the caller wipes it.

        Args:
            handle: of the private key.
            ciphertext: as long as the modulus.
            reason: shown on the phone, cut to 128 characters.
            timeout_s: seconds the phone's user may take.

        Raises:
            PinRequired, UserRefused, DecryptFailed: and other `PhoneError`.
        """
        shown = "".join(c if c.isprintable() else " " for c in reason)[:MAX_REASON_CHARACTERS]
        mechanism = f'{CKM.RSA_PKCS_OAEP:X}:"{OAEP_SHA256.encode().hex().upper()}"'
        command = f'*PDEC={self.session()},{mechanism},{handle},"{ciphertext.hex().upper()}"'
        return _secret_value(self._run(f"*PREASON={quote(shown)};{command}", timeout_s), "*PDEC")

    def random(self, count: int) -> bytes:
        """Return random bytes of the phone (C_GenerateRandom)."""
        collected = b""
        while len(collected) < count:
            part = min(MAX_RANDOM_BYTES, count - len(collected))
            data = _secret_value(self._run(f"*PRAND={self.session()},{part}"), "*PRAND")
            if len(data) != part:
                raise ProtocolError("the phone's *PRAND is malformed")
            collected += data
        return collected

    def info(self) -> PhoneInfo:
        """Return what the phone says about itself, in one round trip."""
        response = self._run(f"*PINFO?;*PTOK={SLOT}")
        about = parse_values(self._only(response, "*PINFO"))
        token = parse_values(self._only(response, "*PTOK"))
        if len(about) != 4 or len(token) != 9 or token[0].integer() != SLOT:
            raise ProtocolError("the phone's description is malformed")
        return PhoneInfo(
            name=about[2].string(),
            version=about[3].string(),
            manufacturer=token[2].string(),
            model=token[3].string(),
            label=token[1].string(),
            serial=token[4].string(),
            flags=token[5].hex_integer(),
            pin_tries_left=token[6].integer(),
        )


def _secret_value(response: Response, prefix: str) -> bytearray:
    """Return the bytes of the only line `<prefix>: "<hex>"`; every copy on the way is wiped."""
    start = f'{prefix}: "'
    lines = [line for line in response.lines if line.startswith(start)]
    try:
        if len(lines) != 1 or not lines[0].endswith('"'):
            raise ProtocolError(f"the phone's {prefix} is malformed")
        digits = lines[0][len(start) : -1]
        try:
            if not _HEX.match(digits):
                raise ValueError
            raw = bytes.fromhex(digits)
        except ValueError:
            raise ProtocolError(f"the phone's {prefix} is malformed") from None
        finally:
            wipe(digits)
        secret = bytearray(raw)
        wipe(raw)
        return secret
    finally:
        for line in lines:
            wipe(line)
