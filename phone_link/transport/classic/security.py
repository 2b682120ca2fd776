"""Authentication, pairing and encryption of an ACL link, as its initiator.

Pairing is Secure Simple Pairing with numeric comparison (Core Specification Vol 2 Part H 7.2.1), and only
when the caller allows pairing. The six digits of this level are accepted without being shown: the
comparison that counts is phonevault's own, of a code bound to the Noise handshake, which a man in the
middle of the Bluetooth link cannot pass. What the link key gives on top is that strangers do not get as
far as the service.
"""

from __future__ import annotations

import struct

from phone_link.errors import ChannelError, LinkError, PairingRefused, UnknownPeer
from phone_link.transport.classic import hci
from phone_link.transport.classic.acl import AclLink
from phone_link.transport.link_keys import LinkKeyStore, PeerRecord


class Security:
    """Answers the controller's questions and runs the procedures.

    Args:
        link: The link, already up.
        keys: Where link keys are kept.
        pairing: Whether a new bond may be made.
    """

    def __init__(self, link: AclLink, keys: LinkKeyStore, pairing: bool) -> None:
        self._link = link
        self._adapter = link.adapter
        self._keys = keys
        self._pairing = pairing
        self._peer = hci.format_address(link.peer)
        self._new_key: PeerRecord | None = None
        self._authentication: int | None = None
        self._encryption: tuple[int, int] | None = None
        adapter = link.adapter
        adapter.handle(hci.LINK_KEY_REQUEST, self._on_link_key_request)
        adapter.handle(hci.LINK_KEY_NOTIFICATION, self._on_link_key_notification)
        adapter.handle(hci.IO_CAPABILITY_REQUEST, self._on_io_capability_request)
        adapter.handle(hci.USER_CONFIRMATION_REQUEST, self._on_user_confirmation_request)
        adapter.handle(hci.AUTHENTICATION_COMPLETE, self._on_authentication_complete)
        adapter.handle(hci.ENCRYPTION_CHANGE, self._on_encryption_change)

    def secure(self, deadline: float) -> None:
        """Authenticate with the stored link key, or pair, and switch encryption on.

        Raises:
            UnknownPeer: One side has no link key for the other, and pairing is not allowed.
            ChannelError: The link keys differ: this is not the phone that was paired.
            PairingRefused: The phone does not pair.
        """
        known = self._keys.get(self._peer) is not None
        if not known and not self._pairing:
            raise UnknownPeer(f"the phone {self._peer} is not paired with this computer")
        status = self._authenticate(deadline)
        if status in (hci.PIN_OR_KEY_MISSING, hci.AUTHENTICATION_FAILURE) and known and self._pairing:
            self._keys.forget(self._peer)
            status = self._authenticate(deadline)
        self._judge(status, known)
        self._encrypt(deadline)
        if self._new_key is not None:
            self._keys.put(self._peer, self._new_key)

    def _judge(self, status: int, known: bool) -> None:
        if status == hci.SUCCESS:
            if self._new_key is not None and self._new_key.key_type not in hci.AUTHENTICATED_KEY_TYPES:
                raise PairingRefused("the phone did not take part in the comparison of Bluetooth pairing")
            return
        if self._pairing:
            raise PairingRefused(f"Bluetooth pairing with {self._peer} failed (error 0x{status:02X})")
        if status == hci.PIN_OR_KEY_MISSING:
            raise UnknownPeer(f"the phone {self._peer} does not know this computer any more")
        if status == hci.AUTHENTICATION_FAILURE and known:
            raise ChannelError(f"the device at {self._peer} has not the link key of the paired phone")
        raise LinkError(f"Bluetooth authentication failed (error 0x{status:02X})")

    def _authenticate(self, deadline: float) -> int:
        self._authentication = None
        handle = struct.pack("<H", self._link.handle)
        self._adapter.command(hci.AUTHENTICATION_REQUESTED, handle, deadline)
        with self._adapter.changed:
            late = "the phone does not finish Bluetooth authentication"
            self._link.wait(lambda: self._authentication is not None, deadline, late)
            assert self._authentication is not None
            return self._authentication

    def _encrypt(self, deadline: float) -> None:
        parameters = struct.pack("<HB", self._link.handle, 1)
        self._adapter.command(hci.SET_CONNECTION_ENCRYPTION, parameters, deadline)
        with self._adapter.changed:
            late = "the phone does not switch Bluetooth encryption on"
            self._link.wait(lambda: self._encryption is not None, deadline, late)
            if self._encryption is None or self._encryption[0] != hci.SUCCESS or not self._encryption[1]:
                raise ChannelError("the Bluetooth link is not encrypted")

    def _on_link_key_request(self, parameters: bytes) -> None:
        address = parameters[:6]
        record = self._keys.get(self._peer) if address == self._link.peer else None
        if record is None:
            self._adapter.post(hci.LINK_KEY_REQUEST_NEGATIVE_REPLY, address)
        else:
            self._adapter.post(hci.LINK_KEY_REQUEST_REPLY, address + record.link_key)

    def _on_link_key_notification(self, parameters: bytes) -> None:
        address, link_key, key_type = struct.unpack("<6s16sB", parameters)
        if address == self._link.peer and self._pairing:
            self._new_key = PeerRecord(link_key, key_type)

    def _on_io_capability_request(self, parameters: bytes) -> None:
        address = parameters[:6]
        if self._pairing and address == self._link.peer:
            answer = bytes([hci.DISPLAY_YES_NO, 0, hci.MITM_GENERAL_BONDING])
            self._adapter.post(hci.IO_CAPABILITY_REQUEST_REPLY, address + answer)
        else:
            refusal = address + bytes([hci.PAIRING_NOT_ALLOWED])
            self._adapter.post(hci.IO_CAPABILITY_REQUEST_NEGATIVE_REPLY, refusal)

    def _on_user_confirmation_request(self, parameters: bytes) -> None:
        agreed = self._pairing and parameters[:6] == self._link.peer
        reply = (
            hci.USER_CONFIRMATION_REQUEST_REPLY if agreed else hci.USER_CONFIRMATION_REQUEST_NEGATIVE_REPLY
        )
        self._adapter.post(reply, parameters[:6])

    def _on_authentication_complete(self, parameters: bytes) -> None:
        status, handle = struct.unpack("<BH", parameters)
        if handle == self._link.handle:
            self._authentication = status

    def _on_encryption_change(self, parameters: bytes) -> None:
        status, handle, enabled = struct.unpack("<BHB", parameters)
        if handle != self._link.handle:
            return
        if self._encryption is not None and not enabled:
            self._link.end("the phone switched Bluetooth encryption off")
        self._encryption = (status, enabled)
