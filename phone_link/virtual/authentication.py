"""Authentication with stored link keys, pairing and encryption of a virtual controller.

The procedures run as in the Core Specification (Vol 2 Part C 4.2, Vol 4 Part E 7.1.15 and 7.1.16): the
hosts hold the link keys, the verifier sends a random number, the claimant proves the key. Two things
are stand-ins: the proof is an HMAC instead of E1, and nothing is encrypted on the emulated air.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from bumble import controller, hci, lmp

from phone_link.virtual.links import LinkState

SUCCESS = hci.HCI_ErrorCode.SUCCESS
KEY_MISSING = hci.HCI_ErrorCode.PIN_OR_KEY_MISSING_ERROR
WRONG_KEY = hci.HCI_ErrorCode.AUTHENTICATION_FAILURE_ERROR


@lmp.Packet.subclass
@dataclass
class LmpSres(lmp.Packet):
    """The claimant's answer to LMP_AU_RAND."""

    opcode = lmp.Opcode.LMP_SRES

    authentication_response: bytes = field(metadata=hci.metadata(4))


@lmp.Packet.subclass
@dataclass
class LmpStartEncryptionReq(lmp.Packet):
    """Switches encryption on; the real exchange of several packets in one."""

    opcode = lmp.Opcode.LMP_START_ENCRYPTION_REQ

    random_number: bytes = field(metadata=hci.metadata(16))


def signed_response(link_key: bytes, random_number: bytes, claimant: hci.Address) -> bytes:
    """SRES: what only a holder of the link key can answer."""
    return hmac.digest(link_key, random_number + bytes(claimant), hashlib.sha256)[:4]


class AuthenticatingController(controller.Controller):
    """The security half of a virtual controller; expects `links` from the other half."""

    links: dict[hci.Address, LinkState]

    def on_lmp_packet(self, sender_address: hci.Address, packet: lmp.Packet) -> None:
        """Handle authentication and encryption here, everything else as Bumble does."""
        state = self.links.get(sender_address)
        if state is None:
            return
        match packet:
            case lmp.LmpAuRand(random_number):
                state.challenge = random_number
                self.send_hci_packet(hci.HCI_Link_Key_Request_Event(bd_addr=sender_address))
            case LmpSres(response):
                self._on_signed_response(state, sender_address, response)
            case lmp.LmpNotAccepted(lmp.Opcode.LMP_AU_RAND, error_code):
                state.verifying = None
                self._authentication_complete(sender_address, error_code)
            case LmpStartEncryptionReq():
                self._on_start_encryption(state, sender_address)
            case lmp.LmpAccepted(lmp.Opcode.LMP_START_ENCRYPTION_REQ):
                self._encryption_changed(state, sender_address, SUCCESS)
            case lmp.LmpNotAccepted(lmp.Opcode.LMP_START_ENCRYPTION_REQ, error_code):
                self._encryption_changed(state, sender_address, error_code)
            case lmp.LmpIoCapabilityReq():
                self._fresh_pairing(sender_address)
                super().on_lmp_packet(sender_address, packet)
            case _:
                super().on_lmp_packet(sender_address, packet)

    def on_hci_authentication_requested_command(
        self, command: hci.HCI_Authentication_Requested_Command
    ) -> None:
        """7.1.15: ask our host for the link key first; Bumble's own would always pair anew."""
        connection = self.find_classic_connection_by_handle(command.connection_handle)
        if connection is None:
            self._send_hci_command_status(
                hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR, command.op_code
            )
            return
        self._send_hci_command_status(hci.HCI_COMMAND_STATUS_PENDING, command.op_code)
        self.links[connection.peer_address].authenticating = True
        self.send_hci_packet(hci.HCI_Link_Key_Request_Event(bd_addr=connection.peer_address))

    def on_hci_link_key_request_reply_command(
        self, command: hci.HCI_Link_Key_Request_Reply_Command
    ) -> hci.HCI_StatusAndAddressReturnParameters:
        """7.1.10: the host knows the peer; prove the key, or have the peer prove it."""
        state = self.links.get(command.bd_addr)
        if state is None:
            return self._address_status(command.bd_addr, no_link=True)
        state.link_key = command.link_key
        if state.challenge is not None:
            response = signed_response(command.link_key, state.challenge, self.public_address)
            state.challenge = None
            self.send_lmp_packet(command.bd_addr, LmpSres(authentication_response=response))
        elif state.authenticating:
            state.verifying = secrets.token_bytes(16)
            self.send_lmp_packet(command.bd_addr, lmp.LmpAuRand(random_number=state.verifying))
        return self._address_status(command.bd_addr)

    def on_hci_link_key_request_negative_reply_command(
        self, command: hci.HCI_Link_Key_Request_Negative_Reply_Command
    ) -> hci.HCI_StatusAndAddressReturnParameters:
        """7.1.11: the claimant refuses; the verifier goes on to pairing."""
        state = self.links.get(command.bd_addr)
        if state is None:
            return self._address_status(command.bd_addr, no_link=True)
        if state.challenge is not None:
            state.challenge = None
            self.send_lmp_packet(command.bd_addr, lmp.LmpNotAccepted(lmp.Opcode.LMP_AU_RAND, KEY_MISSING))
            return self._address_status(command.bd_addr)
        self._fresh_pairing(command.bd_addr)
        return super().on_hci_link_key_request_negative_reply_command(command)

    def on_hci_set_connection_encryption_command(
        self, command: hci.HCI_Set_Connection_Encryption_Command
    ) -> None:
        """7.1.16: needs a link key; Bumble's own leaves it unanswered."""
        connection = self.find_classic_connection_by_handle(command.connection_handle)
        if connection is None or not command.encryption_enable:
            self._send_hci_command_status(hci.HCI_ErrorCode.COMMAND_DISALLOWED_ERROR, command.op_code)
            return
        self._send_hci_command_status(hci.HCI_COMMAND_STATUS_PENDING, command.op_code)
        state = self.links[connection.peer_address]
        if state.link_key is None:
            self._encryption_changed(state, connection.peer_address, KEY_MISSING)
            return
        self.send_lmp_packet(
            connection.peer_address, LmpStartEncryptionReq(random_number=secrets.token_bytes(16))
        )

    def corrected(self, packet: hci.HCI_Packet) -> hci.HCI_Packet | None:
        """Put right what Bumble's pairing reports: the key type, and to whom it is complete.

        Bumble announces key type 8 (P-256) for what is a P-192 pairing (4 or 5), which Linux refuses,
        and sends Authentication Complete also to the host that never asked for it.
        """
        match packet:
            case hci.HCI_Link_Key_Notification_Event():
                if state := self.links.get(packet.bd_addr):
                    state.link_key = packet.link_key
                return hci.HCI_Link_Key_Notification_Event(
                    bd_addr=packet.bd_addr, link_key=packet.link_key, key_type=self._key_type(packet.bd_addr)
                )
            case hci.HCI_Authentication_Complete_Event():
                connection = self.find_classic_connection_by_handle(packet.connection_handle)
                state = self.links.get(connection.peer_address) if connection else None
                if state is None or not state.authenticating:
                    return None
                state.authenticating = False
        return packet

    def _key_type(self, address: hci.Address) -> int:
        ssp = self.classic_connections[address].ssp_state
        just_works = hci.IoCapability.NO_INPUT_NO_OUTPUT in (ssp.local_io_capability, ssp.peer_io_capability)
        if just_works:
            return hci.LinkKeyType.UNAUTHENTICATED_COMBINATION_KEY_GENERATED_FROM_P_192
        return hci.LinkKeyType.AUTHENTICATED_COMBINATION_KEY_GENERATED_FROM_P_192

    def _on_signed_response(self, state: LinkState, address: hci.Address, response: bytes) -> None:
        if state.verifying is None or state.link_key is None:
            return
        expected = signed_response(state.link_key, state.verifying, address)
        state.verifying = None
        proven = hmac.compare_digest(expected, response)
        if not proven:
            state.link_key = None
        self._authentication_complete(address, SUCCESS if proven else WRONG_KEY)

    def _on_start_encryption(self, state: LinkState, address: hci.Address) -> None:
        opcode = lmp.Opcode.LMP_START_ENCRYPTION_REQ
        theirs = state.peer.links.get(self.public_address)
        same_key = (
            theirs is not None
            and theirs.link_key is not None
            and state.link_key is not None
            and hmac.compare_digest(state.link_key, theirs.link_key)
        )
        if not same_key:
            self.send_lmp_packet(address, lmp.LmpNotAccepted(opcode, KEY_MISSING))
            return
        self.send_lmp_packet(address, lmp.LmpAccepted(opcode))
        self._encryption_changed(state, address, SUCCESS)

    def _encryption_changed(self, state: LinkState, address: hci.Address, status: int) -> None:
        connection = self.classic_connections.get(address)
        if connection is None:
            return
        state.encrypted = status == SUCCESS
        self.send_hci_packet(
            hci.HCI_Encryption_Change_Event(
                status=status, connection_handle=connection.handle, encryption_enabled=int(state.encrypted)
            )
        )

    def _authentication_complete(self, address: hci.Address, status: int) -> None:
        if connection := self.classic_connections.get(address):
            self.send_hci_packet(
                hci.HCI_Authentication_Complete_Event(status=status, connection_handle=connection.handle)
            )

    def _fresh_pairing(self, address: hci.Address) -> None:
        if connection := self.classic_connections.get(address):
            connection.ssp_state = controller.SspState()

    @staticmethod
    def _address_status(
        address: hci.Address, no_link: bool = False
    ) -> hci.HCI_StatusAndAddressReturnParameters:
        status = hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR if no_link else SUCCESS
        return hci.HCI_StatusAndAddressReturnParameters(status=status, bd_addr=address)
