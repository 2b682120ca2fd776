"""A session with a paired phone: the channel is open, both sides are who they should be."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from phone_link.at.client import AtClient, Commander
from phone_link.at.cme import check
from phone_link.channel.client import SecureCommander, handshake, prepare
from phone_link.channel.noise import Pattern
from phone_link.errors import KeyNotFound, LinkError, PinRequired
from phone_link.host.anchor import HeaderWitness, Seen
from phone_link.host.identity import HostIdentity
from phone_link.host.phone_book import PairedPhone
from phone_link.host.token import CONSENT_TIMEOUT_S, PhoneInfo, Token
from phone_link.transport.base import Stream

OPEN_TIMEOUT_S = 6.0
_T = TypeVar("_T")


class PhoneSession:
    """One authenticated session; for one thread at a time. Any link error closes it for good."""

    def __init__(self, commander: Commander) -> None:
        self._commander = commander
        self._token = Token(commander)
        self._witness = HeaderWitness(commander)

    @classmethod
    def open(
        cls, stream: Stream, identity: HostIdentity, phone: PairedPhone, timeout_s: float = OPEN_TIMEOUT_S
    ) -> PhoneSession:
        """Run the KK handshake on a fresh stream. The session owns the stream; it is closed on failure.

        Raises:
            UnknownPeer: the phone does not know this computer.
            ChannelError: whoever answers is not the paired phone.
            ProtocolError: it is no phonevault phone at all.
            LinkTimeout, LinkClosed: no answer within `timeout_s` seconds.
        """
        outer = AtClient(stream)
        deadline = time.monotonic() + timeout_s
        try:
            limits = prepare(outer, timeout_s)
            remaining = max(0.0, deadline - time.monotonic())
            established = handshake(outer, Pattern.KK, identity.private, phone.static_public, remaining)
            return cls(SecureCommander(outer, established, limits))
        except LinkError:
            outer.close()
            raise

    def ping(self, timeout_s: float) -> None:
        """Have the phone answer a bare AT inside the channel: the authenticated heartbeat.

        Raises:
            LinkTimeout, LinkClosed, ChannelError: the link is closed.
        """
        check(self._commander.command("", timeout_s))

    def wait(self, timeout_s: float) -> None:
        """Wait so long for unsolicited results and hand them out; raises when the link is gone."""
        self._commander.poll(timeout_s)

    def on_lock(self, handler: Callable[[], None]) -> None:
        """Call `handler` when the phone says "lock everything", in the thread that uses the session."""

        def event(value: str) -> None:
            if value == "1":
                handler()

        self._commander.on_unsolicited("*PLOCKEV", event)

    def login(self, pin: bytearray | None, timeout_s: float = CONSENT_TIMEOUT_S) -> None:
        """Enter the PIN; None lets the user type it on the phone. The caller wipes `pin`.

        Raises:
            PinIncorrect, PinLocked, UserRefused: the phone's answer.
        """
        self._token.login(pin, timeout_s)

    def decrypt(
        self, fingerprint: str, ciphertext: bytes, reason: str, timeout_s: float = CONSENT_TIMEOUT_S
    ) -> bytearray:
        """Return the RSA-OAEP-SHA256 plaintext under the phone's key; the caller wipes it.

        If the phone wants its PIN, its user is asked for it on the phone, once.

        Args:
            fingerprint: hex SHA-256 of the key's SubjectPublicKeyInfo.
            ciphertext: as long as the modulus.
            reason: shown on the phone with the question, cut to 128 characters.
            timeout_s: seconds the user may take for each question.

        Raises:
            KeyNotFound, UserRefused, PinRequired, PinLocked, DecryptFailed: the phone's answer.
        """

        def attempt() -> bytearray:
            handle = self._token.handle_of(fingerprint)
            return self._token.decrypt(handle, ciphertext, reason, timeout_s)

        return self._with_login(attempt, timeout_s)

    def show_header(
        self, vault_id: bytes, generation: int, mac: bytes, timeout_s: float = CONSENT_TIMEOUT_S
    ) -> Seen:
        """Show the phone the header of a vault before it opens it; see `HeaderWitness.show`."""
        return self._witness.show(vault_id, generation, mac, timeout_s)

    def remember_header(self, vault_id: bytes, generation: int, mac: bytes, tag: bytes) -> bool:
        """Have the phone remember a header that was opened, or written; see `HeaderWitness.remember`."""
        return self._witness.remember(vault_id, generation, mac, tag)

    def decryption_key(self, timeout_s: float = CONSENT_TIMEOUT_S) -> bytes:
        """Return the SubjectPublicKeyInfo of the phone's RSA decryption key; one is made if there is none."""

        def first() -> int:
            handles = self._token.find_decryption_keys()
            if not handles:
                raise KeyNotFound
            return handles[0]

        try:
            handle = self._with_login(first, timeout_s)
        except KeyNotFound:
            handle = self._with_login(self._token.generate_decryption_key, timeout_s)
        return self._token.public_key(handle)

    def _with_login(self, attempt: Callable[[], _T], timeout_s: float) -> _T:
        # Before login a token hides its private keys (PKCS#11 v2.40, 4.4): "not found" may mean "no PIN yet".
        try:
            return attempt()
        except (PinRequired, KeyNotFound):
            self._token.login(None, timeout_s)
            return attempt()

    def random(self, count: int) -> bytes:
        """Return random bytes made by the phone."""
        return self._token.random(count)

    def info(self) -> PhoneInfo:
        """Return what the phone says about itself."""
        return self._token.info()

    def close(self) -> None:
        """Close the link; idempotent."""
        self._commander.close()
