"""A phone without a link: what `PhoneOpener` needs of a session, with keys in this process."""

from __future__ import annotations

import hashlib

from phone_link.errors import (
    DecryptFailed,
    HeaderForked,
    HeaderRolledBack,
    KeyNotFound,
    UserRefused,
    VaultSubstituted,
)
from phone_link.host.anchor import Seen
from support.headers import OAEP, public_der, rsa_key


class Phone:
    """What `PhoneOpener` needs of a session, with software keys by fingerprint."""

    def __init__(self, *keys: int, refuse: bool = False) -> None:
        self.keys = {hashlib.sha256(public_der(rsa_key(n))).hexdigest(): rsa_key(n) for n in keys}
        self.asked: list[tuple[str, str]] = []
        self.refuse = refuse
        self.headers: dict[bytes, tuple[int, bytes, bytes]] = {}

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

    def show_header(self, vault_id: bytes, generation: int, mac: bytes) -> Seen:
        known = self.headers.get(vault_id)
        if known is None:
            return Seen.UNKNOWN
        if generation < known[0]:
            raise HeaderRolledBack
        if generation == known[0] and mac != known[1]:
            raise HeaderForked
        return Seen.KNOWN if generation == known[0] else Seen.NEWER

    def remember_header(self, vault_id: bytes, generation: int, mac: bytes, tag: bytes) -> bool:
        known = self.headers.setdefault(vault_id, (generation, mac, tag))
        if known[2] != tag:
            raise VaultSubstituted
        self.headers[vault_id] = (generation, mac, tag)
        return True
