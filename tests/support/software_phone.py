"""A phone without a link: what `PhoneOpener` needs of a session, with keys in this process."""

from __future__ import annotations

import hashlib

from phone_link.errors import DecryptFailed, KeyNotFound, UserRefused
from support.headers import OAEP, public_der, rsa_key


class Phone:
    """What `PhoneOpener` needs of a session, with software keys by fingerprint."""

    def __init__(self, *keys: int, refuse: bool = False) -> None:
        self.keys = {hashlib.sha256(public_der(rsa_key(n))).hexdigest(): rsa_key(n) for n in keys}
        self.asked: list[tuple[str, str]] = []
        self.refuse = refuse

    def decrypt(self, fingerprint: str, ciphertext: bytes, reason: str) -> bytearray:
        self.asked.append((fingerprint, reason))
        if self.refuse:
            raise UserRefused
        if fingerprint not in self.keys:
            raise KeyNotFound
        try:
            return bytearray(self.keys[fingerprint].decrypt(ciphertext, OAEP))
        except ValueError:
            raise DecryptFailed from None
