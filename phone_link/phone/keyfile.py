"""One software key as a file of STORE/keys: format and sealing, no I/O."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

from phone_link.phone import labels, strict_json
from phone_link.phone.errors import StoreDamaged
from phone_link.phone.store_format import VERSION, check_version
from phone_link.wipe import wipe

FORMAT = "phonevault-phone-key"
POLICIES = ("ask", "session", "auto")
USAGES = ("decrypt", "sign")
MAX_ID_BYTES = 64
MAX_LABEL = 64
MAX_DER_BYTES = 8192


@dataclass(frozen=True)
class KeyFile:
    """An RSA key pair: the public key in the clear, the private key (PKCS#8 DER) sealed.

    `policy`: `ask` the user each time, once per `session` (connection), or `auto` (never ask). All clear
    members are authenticated with the sealed key.
    """

    id: bytes
    label: str
    policy: str
    usage: tuple[str, ...]
    created: str
    public: bytes
    nonce: bytes = b""
    sealed: bytes = field(default=b"", repr=False)

    def _clear_members(self) -> dict[str, object]:
        return {
            "created": self.created,
            "format": FORMAT,
            "id": self.id.hex(),
            "label": self.label,
            "policy": self.policy,
            "public": self.public.hex(),
            "usage": list(self.usage),
            "version": VERSION,
        }

    @property
    def file_name(self) -> str:
        """The name of this key's file."""
        return f"{self.id.hex()}.json"

    def encode(self) -> bytes:
        """Return the file's bytes."""
        sealed = {"nonce": self.nonce.hex(), "sealed": self.sealed.hex()}
        return strict_json.encode(self._clear_members() | sealed)

    @classmethod
    def parse(cls, data: bytes, what: str) -> KeyFile:
        """Parse the file's bytes (`what` names it in errors); `StoreDamaged`, `StoreTooNew`."""
        fields = strict_json.decode(data, what)
        check_version(fields, FORMAT, what)
        usage = tuple(fields.items("usage", len(USAGES)))
        if usage != tuple(name for name in USAGES if name in usage):
            raise fields.wrong("usage")
        key = cls(
            id=fields.octets("id", 1, MAX_ID_BYTES),
            label=fields.string("label", MAX_LABEL),
            policy=fields.choice("policy", POLICIES),
            usage=usage,
            created=fields.string("created", 20),
            public=fields.octets("public", 1, MAX_DER_BYTES),
            nonce=fields.octets("nonce", 12),
            sealed=fields.octets("sealed", 17, MAX_DER_BYTES),
        )
        fields.finish()
        if key.file_name != what:
            raise StoreDamaged(f"{what} holds another key than its name says")
        return key

    def with_private(self, private: bytearray, master: bytearray, store_id: bytes) -> KeyFile:
        """Return this key with `private` (PKCS#8 DER) sealed into it.

        Nonce: random; a key's sealing key seals it again only when its label or policy changes.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(12)
        sealing_key = self._sealing_key(master, store_id)
        try:
            sealed = AESGCM(sealing_key).encrypt(nonce, private, strict_json.encode(self._clear_members()))
        finally:
            wipe(sealing_key)
        return replace(self, nonce=nonce, sealed=sealed)

    def open_private(self, master: bytearray, store_id: bytes) -> bytearray:
        """Return the private key as PKCS#8 DER (the caller wipes it); `StoreDamaged` if it was changed."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        private = bytearray(len(self.sealed) - 16)
        sealing_key = self._sealing_key(master, store_id)
        try:
            aead = AESGCM(sealing_key)
            aead.decrypt_into(self.nonce, self.sealed, strict_json.encode(self._clear_members()), private)
        except InvalidTag:
            raise StoreDamaged(f"key {self.file_name} was changed or damaged") from None
        finally:
            wipe(sealing_key)
        return private

    def _sealing_key(self, master: bytearray, store_id: bytes) -> bytearray:
        """HKDF-SHA256 (RFC 5869) of the master key, one key for each software key."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        sealing_key = bytearray(32)
        hkdf = HKDF(SHA256(), length=32, salt=store_id, info=labels.KEY_SEAL + b"\x00" + self.id)
        hkdf.derive_into(master, sealing_key)
        return sealing_key
