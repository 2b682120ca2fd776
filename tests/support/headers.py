"""What the tests of keyslots and of the vault share: cheap costs, test keys, edits of a header file."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyslots.build import (
    NewHeader,
    PassphraseSlotRequest,
    PhoneSlotRequest,
    RecoverySlotRequest,
    new_header,
    new_recovery_code,
)
from keyslots.derive import header_key
from keyslots.envelope import encode_file
from keyslots.secret import Secret
from keyslots.slots.passphrase import Cost

CHEAP = Cost(memory_kib=8192, iterations=1, lanes=1)
PASSPHRASE = b"correct horse battery staple"
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


def rsa_key(which: int = 0) -> rsa.RSAPrivateKey:
    """The RSA key of phone number `which`, made once a run."""
    return _rsa_key(which)


@functools.cache
def _rsa_key(which: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def public_der(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class Made:
    """A header with all three kinds of slots (0 phone, 1 passphrase, 2 recovery) and its secrets."""

    def __init__(self) -> None:
        self.code = new_recovery_code()
        self.new: NewHeader = new_header(
            [
                PhoneSlotRequest(public_der(rsa_key()), "my phone"),
                PassphraseSlotRequest(bytearray(PASSPHRASE), cost=CHEAP),
                RecoverySlotRequest(self.code),
            ],
            "aes-256-gcm",
        )
        self.header = self.new.header
        self.vmk = self.new.vmk

    def key(self) -> Secret:
        return header_key(self.vmk, self.header.vault_id)

    def file(self) -> bytes:
        with self.key() as key:
            return encode_file(self.header, key)


@functools.cache
def made() -> Made:
    return Made()


def plain_canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def with_checksum(envelope: dict[str, Any]) -> bytes:
    """The file of an envelope whose checksum is made right again."""
    content = {"header": envelope["header"], "mac": envelope["mac"]}
    checksum = hashlib.sha256(plain_canonical(content)).hexdigest()
    return plain_canonical({"checksum": checksum, **content}) + b"\n"


def edited(data: bytes, edit: Callable[[dict[str, Any]], None]) -> bytes:
    """The file after an edit of `header` by someone who makes the checksum right again, but has no key."""
    envelope = json.loads(data)
    edit(envelope["header"])
    return with_checksum(envelope)
