"""What the security manager needs of a cryptographic module (software keys, later a WIM card)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from phone_link.cryptoki import OaepParameters
from phone_link.phone.objects import KeyDescription


@dataclass(frozen=True)
class ModuleInfo:
    """What a module says about itself.

    `pin_tries_left`: wrong PINs it still takes. PIN lengths in characters.
    """

    label: str
    manufacturer: str
    model: str
    serial: str
    pin_tries_left: int
    pin_tries_total: int
    shortest_pin: int
    longest_pin: int


@dataclass(frozen=True)
class NewKey:
    """A key pair to be made. `key_id` empty: the module derives one from the public key."""

    bits: int
    label: str = ""
    key_id: bytes = b""
    usage: tuple[str, ...] = ("decrypt",)
    policy: str = "ask"


class CryptographicModule(Protocol):
    """Holds the private keys. Every method may be called from any thread.

    Methods raise `PhoneError` subclasses with the CKR the computer is told.
    """

    @property
    def logged_in(self) -> bool:
        """True between `login` and `logout`."""

    def info(self) -> ModuleInfo:
        """Return label, PIN state and the like."""

    def key_pairs(self) -> tuple[KeyDescription, ...]:
        """Return the key pairs; works before login."""

    def login(self, pin: bytearray) -> None:
        """Check the PIN (`PinIncorrect`, `PinLocked`); counts tries. Also when logged in already."""

    def logout(self) -> None:
        """Forget everything the PIN opened; idempotent."""

    def decrypt_oaep(self, key_id: bytes, parameters: OaepParameters, ciphertext: bytes) -> bytearray:
        """Return the plaintext (the caller wipes it).

        Raises:
            PinRequired: not logged in.
            DecryptFailed: any fault of the cryptogram, all alike.
        """

    def generate(self, request: NewKey) -> KeyDescription:
        """Make and keep a key pair; `PinRequired` if not logged in."""

    def random(self, count: int) -> bytes:
        """Return random bytes."""
