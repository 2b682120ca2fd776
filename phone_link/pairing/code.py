"""The arithmetic of pairing. Pure.

The computer commits to Na before it sees Nb, the phone picks Nb before it sees Na. So someone in the middle,
who has two handshakes with two hashes, has one guess among a million at making both screens show one code.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

NONCE_BYTES = 32
COMMITMENT_BYTES = 32
CODE_DIGITS = 6

_COMMIT_LABEL = b"phonevault v1 pairing commit"
_CODE_LABEL = b"phonevault v1 pairing code"


def fresh_nonce() -> bytes:
    """Return 32 random bytes (Na of the computer, Nb of the phone); each is used for one pairing only."""
    return secrets.token_bytes(NONCE_BYTES)


def commitment(nonce_a: bytes, handshake_hash: bytes) -> bytes:
    """Return HMAC-SHA256 (RFC 2104) under Na over the label and the handshake hash: 32 bytes."""
    return hmac.digest(nonce_a, _COMMIT_LABEL + handshake_hash, "sha256")


def commitment_fits(committed: bytes, nonce_a: bytes, handshake_hash: bytes) -> bool:
    """Return whether a revealed Na is the one committed to."""
    return len(nonce_a) == NONCE_BYTES and hmac.compare_digest(committed, commitment(nonce_a, handshake_hash))


def pairing_code(handshake_hash: bytes, nonce_a: bytes, nonce_b: bytes) -> str:
    """Return the six digits both screens show."""
    digest = hashlib.sha256(_CODE_LABEL + handshake_hash + nonce_a + nonce_b).digest()
    return f"{int.from_bytes(digest[:8], 'big') % 10**CODE_DIGITS:0{CODE_DIGITS}d}"
