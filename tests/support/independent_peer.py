"""A Noise responder written from docs/protocol.md with what WebCrypto has, and nothing of phone_link."""

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PATTERNS = {
    b"Noise_XX_25519_AESGCM_SHA256": ([], [["e"], ["e", "ee", "s", "es"], ["s", "se"]]),
    b"Noise_KK_25519_AESGCM_SHA256": (["initiator", "responder"], [["e", "es", "ss"], ["e", "ee", "se"]]),
}


def hkdf(chaining_key, material):
    """Two outputs (Noise 4.3)."""
    secret = hmac.digest(chaining_key, material, "sha256")
    first = hmac.digest(secret, b"\x01", "sha256")
    return first, hmac.digest(secret, first + b"\x02", "sha256")


class Cipher:
    """A key and its counter (Noise 5.1)."""

    def __init__(self, key=None):
        self.key, self.counter = key, 0

    def _nonce(self):
        nonce = bytes(4) + self.counter.to_bytes(8, "big")
        self.counter += 1
        return nonce

    def encrypt(self, plaintext, data=b""):
        return AESGCM(self.key).encrypt(self._nonce(), plaintext, data) if self.key else plaintext

    def decrypt(self, message, data=b""):
        return AESGCM(self.key).decrypt(self._nonce(), message, data) if self.key else message


class Responder:
    """The phone's side of a handshake, then `receive` and `send` (Noise 5.2, 5.3)."""

    def __init__(self, name, static, remote_static=None, ephemeral=None):
        pre, self._messages = PATTERNS[name][0], list(PATTERNS[name][1])
        self.h = self._ck = name.ljust(32, b"\0") if len(name) <= 32 else hashlib.sha256(name).digest()
        self._cipher = Cipher()
        self._static, self._ephemeral = static, ephemeral or X25519PrivateKey.generate()
        self.remote_static, self._remote_ephemeral = remote_static, b""
        self._mix_hash(b"phonevault v1")
        for who in pre:
            own = static.public_key().public_bytes_raw()
            self._mix_hash(remote_static if who == "initiator" else own)
        self.receive = self.send = None

    def _mix_hash(self, data):
        self.h = hashlib.sha256(self.h + data).digest()

    def _mix_key(self, token):
        # First letter: the initiator's key; second: ours.
        own = self._ephemeral if token[1] == "e" else self._static
        remote = self._remote_ephemeral if token[0] == "e" else self.remote_static
        self._ck, key = hkdf(self._ck, own.exchange(X25519PublicKey.from_public_bytes(remote)))
        self._cipher = Cipher(key)

    def read(self, message):
        for token in self._messages.pop(0):
            if token == "e":
                self._remote_ephemeral, message = message[:32], message[32:]
                self._mix_hash(self._remote_ephemeral)
            elif token == "s":
                sealed, message = message[:48], message[48:]
                self.remote_static = self._open(sealed)
            else:
                self._mix_key(token)
        assert self._open(message) == b""
        self._split()

    def _open(self, sealed):
        plaintext = self._cipher.decrypt(sealed, self.h)
        self._mix_hash(sealed)
        return plaintext

    def write(self):
        message = b""
        for token in self._messages.pop(0):
            if token == "e":
                public = self._ephemeral.public_key().public_bytes_raw()
                self._mix_hash(public)
                message += public
            elif token == "s":
                message += self._seal(self._static.public_key().public_bytes_raw())
            else:
                self._mix_key(token)
        message += self._seal(b"")
        self._split()
        return message

    def _seal(self, plaintext):
        sealed = self._cipher.encrypt(plaintext, self.h)
        self._mix_hash(sealed)
        return sealed

    def _split(self):
        if not self._messages:
            to_phone, to_computer = hkdf(self._ck, b"")
            self.receive, self.send = Cipher(to_phone), Cipher(to_computer)
