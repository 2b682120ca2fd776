"""Noise handshakes and message encryption. The only module that imports noiseprotocol.

Noise_XX_25519_AESGCM_SHA256 for pairing, Noise_KK_25519_AESGCM_SHA256 between paired peers (The Noise
Protocol Framework, revision 34). The computer is always the initiator, whoever opened the link.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from noise.connection import Keypair, NoiseConnection
from noise.exceptions import (
    NoiseHandshakeError,
    NoiseInvalidMessage,
    NoiseMaxNonceError,
    NoiseValidationError,
    NoiseValueError,
)

from phone_link.errors import ChannelError
from phone_link.wipe import wipe

PROLOGUE = b"phonevault v1"
KEY_BYTES = 32
TAG_BYTES = 16
MAX_MESSAGE_BYTES = 65535
"""Largest Noise message (Noise, clause 3)."""
MAX_PLAINTEXT_BYTES = MAX_MESSAGE_BYTES - TAG_BYTES

_PEER_ID_LABEL = b"phonevault v1 peer id"
_FAILURES = (
    InvalidTag,
    NoiseHandshakeError,
    NoiseInvalidMessage,
    NoiseMaxNonceError,
    NoiseValidationError,
    NoiseValueError,
    ValueError,
)


class Pattern(Enum):
    """Handshake patterns; the value is the word on the wire."""

    XX = "XX"
    KK = "KK"

    @property
    def protocol_name(self) -> bytes:
        """The full Noise protocol name."""
        return f"Noise_{self.value}_25519_AESGCM_SHA256".encode("ascii")


def peer_id(static_public: bytes) -> bytes:
    """Return the 8 bytes that tell the phone which computer calls; an index, not an authenticator."""
    return hashlib.sha256(_PEER_ID_LABEL + static_public).digest()[:8]


def public_of(static_private: bytes) -> bytes:
    """Return the X25519 public key (RFC 7748) of a raw private key."""
    return X25519PrivateKey.from_private_bytes(static_private).public_key().public_bytes_raw()


def generate_private() -> bytes:
    """Return a fresh raw X25519 private key."""
    return X25519PrivateKey.generate().private_bytes_raw()


@dataclass(frozen=True)
class Established:
    """The result of a handshake.

    Attributes:
        transport: encrypts and decrypts from now on.
        handshake_hash: 32 bytes both ends share; binds what is said later to this handshake (Noise, 11.2).
        remote_static: the peer's static public key, authenticated by the handshake.
    """

    transport: Transport
    handshake_hash: bytes
    remote_static: bytes


class Handshake:
    """One handshake, message by message. Any failure is final."""

    def __init__(
        self, pattern: Pattern, *, initiator: bool, private: bytes, remote_static: bytes | None = None
    ) -> None:
        """Start.

        Args:
            pattern: XX, or KK (needs `remote_static`).
            initiator: True for the computer.
            private: own static private key, 32 bytes.
            remote_static: the pinned public key of the peer, 32 bytes; None for XX.
        """
        self._noise: Any = NoiseConnection.from_name(pattern.protocol_name)
        self._noise.set_prologue(PROLOGUE)
        (self._noise.set_as_initiator if initiator else self._noise.set_as_responder)()
        self._remote_static = remote_static
        try:
            self._noise.set_keypair_from_private_bytes(Keypair.STATIC, private)
            if remote_static is not None:
                self._noise.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, remote_static)
            self._noise.start_handshake()
        except _FAILURES:
            raise ChannelError("a static key of the channel is malformed") from None
        self._state: Any = self._noise.noise_protocol.handshake_state

    def write(self) -> bytes:
        """Return the next handshake message (empty payload)."""
        try:
            return bytes(self._noise.write_message())
        except _FAILURES:
            raise ChannelError("the handshake failed") from None

    def read(self, message: bytes) -> None:
        """Take the peer's next handshake message.

        Raises:
            ChannelError: it is malformed, not authentic, out of turn, or carries a payload.
        """
        try:
            payload = self._noise.read_message(message)
        except _FAILURES:
            raise ChannelError("the handshake failed: the other side is not who it should be") from None
        if payload:
            # What arrives before the handshake is complete could be a replay.
            raise ChannelError("a handshake message carries a payload")

    @property
    def finished(self) -> bool:
        """True after the last message."""
        return bool(self._noise.handshake_finished)

    def establish(self) -> Established:
        """Return the keys; `ChannelError` before the last message."""
        if not self.finished:
            raise ChannelError("the handshake is not finished")
        remote = self._remote_static or bytes(self._state.rs.public_bytes)
        return Established(Transport(self._noise), self._noise.get_handshake_hash(), remote)


class Transport:
    """Message encryption after the handshake.

    Nonce rule (Noise, clause 5.1): each direction has its own key and a 64-bit counter from 0 that goes up
    by one a message; the counter is never sent. So a message that is replayed, dropped, reordered or changed
    does not authenticate, and after a failure this object refuses everything.
    """

    def __init__(self, noise: Any) -> None:
        self._noise = noise
        self._dead = False

    def encrypt(self, plaintext: bytes | bytearray) -> bytes:
        """Return the next message, 16 bytes longer. Messages must be sent in the order they are made.

        Raises:
            ChannelError: too long, the counter is used up, or an earlier failure.
        """
        self._require_alive()
        if len(plaintext) > MAX_PLAINTEXT_BYTES:
            raise ChannelError("a message is too long for the channel")
        copy = bytes(plaintext)  # the library takes nothing else; the same object if it is bytes already
        try:
            # The library takes nonce n and then counts n up (AES-GCM: 32 zero bits, n as 64 bits big-endian).
            return bytes(self._noise.encrypt(copy))
        except _FAILURES:
            self._dead = True
            raise ChannelError("encryption failed") from None
        finally:
            if copy is not plaintext:
                wipe(copy)

    def decrypt(self, message: bytes) -> bytearray:
        """Return the plaintext of the peer's next message; the caller wipes it.

        Raises:
            ChannelError: not the next authentic message. Final.
        """
        self._require_alive()
        try:
            plaintext = self._noise.decrypt(message)
        except _FAILURES:
            self._dead = True
            raise ChannelError(
                "a message did not authenticate: changed, replayed or lost on the way"
            ) from None
        result = bytearray(plaintext)
        wipe(plaintext)
        return result

    def _require_alive(self) -> None:
        if self._dead:
            raise ChannelError("the channel failed before")
