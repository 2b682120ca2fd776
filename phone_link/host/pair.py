"""Pairing from the computer's side, to the pinned public key."""

from __future__ import annotations

import datetime
from collections.abc import Callable

from phone_link.at.client import AtClient
from phone_link.channel.client import SecureCommander, handshake, prepare
from phone_link.channel.noise import Pattern
from phone_link.errors import PairingRefused, UserRefused
from phone_link.host.identity import HostIdentity
from phone_link.host.keys import fingerprint_of
from phone_link.host.phone_book import PairedPhone
from phone_link.host.session import OPEN_TIMEOUT_S, PhoneSession
from phone_link.pairing.computer import agree
from phone_link.transport.base import Stream


def pair(
    stream: Stream,
    identity: HostIdentity,
    computer_name: str,
    spec: str,
    confirm: Callable[[str], bool],
    name: str | None = None,
) -> PairedPhone:
    """Pair with the phone at the other end of a fresh stream. The stream is closed at the end.

    The RSA key is asked for in a second channel, between the keys just agreed on, so it comes from the very
    phone whose digits were compared. Nothing is stored: the caller adds the result to its `PhoneBook`.

    Args:
        stream: fresh connection to the phone.
        identity: this computer's key.
        computer_name: shown on the phone, 1 … 64 characters.
        spec: how the phone is reached from now on.
        confirm: shows the six digits and returns whether the phone shows the same.
        name: name in the book; None takes the phone's own.

    Raises:
        PairingRefused, PairingMismatch: it did not come to an agreement.
        LinkError: the link failed, or the phone has no usable key.
    """
    outer = AtClient(stream)
    try:
        limits = prepare(outer, OPEN_TIMEOUT_S)
        try:
            pairing = handshake(outer, Pattern.XX, identity.private, None, OPEN_TIMEOUT_S)
        except UserRefused:
            raise PairingRefused("the phone does not accept pairing now") from None
        phone_name = agree(
            SecureCommander(outer, pairing, limits), pairing.handshake_hash, computer_name, confirm
        )
        paired = handshake(outer, Pattern.KK, identity.private, pairing.remote_static, OPEN_TIMEOUT_S)
        der = PhoneSession(SecureCommander(outer, paired, limits)).decryption_key()
    finally:
        outer.close()
    return PairedPhone(
        name=name or phone_name,
        spec=spec,
        static_public=pairing.remote_static,
        public_key_der=der,
        fingerprint=fingerprint_of(der),
        paired=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )
