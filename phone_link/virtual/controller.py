"""A virtual BR/EDR controller: Bumble's, completed to what a host stack meets in a real one.

Core Specification Vol 4 Part E clauses are given where a command is handled.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from functools import partial

from bumble import controller, core, hci

from phone_link.virtual.air import Air, Delivery
from phone_link.virtual.authentication import SUCCESS
from phone_link.virtual.discovery import SLOT_S
from phone_link.virtual.links import LinkState
from phone_link.virtual.settings import SettingsController
from phone_link.virtual.sniff import send_at_anchor

ACL_FRAGMENT_BYTES = 1021
"""Largest ACL payload in either direction; Linux's vhci takes no more than 1,028 bytes a packet."""

_ERROR = hci.HCI_ErrorCode
_MALFORMED = (core.BaseBumbleError, ValueError, IndexError, struct.error)
_FEATURES = (
    hci.LmpFeatureMask.LMP_3_SLOT_PACKETS
    | hci.LmpFeatureMask.LMP_5_SLOT_PACKETS
    | hci.LmpFeatureMask.ENCRYPTION
    | hci.LmpFeatureMask.ROLE_SWITCH
    | hci.LmpFeatureMask.SNIFF_MODE
    | hci.LmpFeatureMask.RSSI_WITH_INQUIRY_RESULTS
    | hci.LmpFeatureMask.EXTENDED_INQUIRY_RESPONSE
    | hci.LmpFeatureMask.SECURE_SIMPLE_PAIRING_CONTROLLER_SUPPORT
    | hci.LmpFeatureMask.HCI_LINK_SUPERVISION_TIMEOUT_CHANGED_EVENT
    | hci.LmpFeatureMask.EXTENDED_FEATURES
)
_CLASSIC_COMMANDS = {
    hci.HCI_INQUIRY_COMMAND,
    hci.HCI_INQUIRY_CANCEL_COMMAND,
    hci.HCI_CREATE_CONNECTION_COMMAND,
    hci.HCI_CREATE_CONNECTION_CANCEL_COMMAND,
    hci.HCI_ACCEPT_CONNECTION_REQUEST_COMMAND,
    hci.HCI_REJECT_CONNECTION_REQUEST_COMMAND,
    hci.HCI_AUTHENTICATION_REQUESTED_COMMAND,
    hci.HCI_SET_CONNECTION_ENCRYPTION_COMMAND,
    hci.HCI_LINK_KEY_REQUEST_REPLY_COMMAND,
    hci.HCI_LINK_KEY_REQUEST_NEGATIVE_REPLY_COMMAND,
    hci.HCI_READ_LOCAL_EXTENDED_FEATURES_COMMAND,
    hci.HCI_SNIFF_MODE_COMMAND,
    hci.HCI_EXIT_SNIFF_MODE_COMMAND,
    hci.HCI_WRITE_SIMPLE_PAIRING_MODE_COMMAND,
    hci.HCI_WRITE_SCAN_ENABLE_COMMAND,
    hci.HCI_WRITE_LOCAL_NAME_COMMAND,
    hci.HCI_WRITE_PAGE_TIMEOUT_COMMAND,
    hci.HCI_WRITE_LINK_SUPERVISION_TIMEOUT_COMMAND,
    hci.HCI_READ_PAGE_SCAN_ACTIVITY_COMMAND,
    hci.HCI_READ_PAGE_SCAN_TYPE_COMMAND,
    hci.HCI_READ_ENCRYPTION_KEY_SIZE_COMMAND,
}
_COMMANDS = {
    code
    for code in controller.Controller.supported_commands | _CLASSIC_COMMANDS
    if not hci.HCI_Command.command_name(code).startswith("HCI_LE_")
}


class RadioController(SettingsController):
    """One adapter as its host sees it over HCI.

    Args:
        address: Its BD_ADDR.
        air: Where the other controllers are.
        send: Takes H4 packets for the host; called on the event loop.
    """

    lmp_features = _FEATURES
    lmp_features_max_page_number = 1
    acl_data_packet_length = ACL_FRAGMENT_BYTES

    def __init__(self, address: hci.Address, air: Air, send: Callable[[bytes], None]) -> None:
        self.air = air
        self.links: dict[hci.Address, LinkState] = {}
        self._send = send
        self._last_handle = 0
        self.supported_commands = _COMMANDS
        super().__init__(str(address), link=air, public_address=address)

    # Power and range

    def power_off(self) -> None:
        """The host is gone: everything stops, the peers find out by their supervision timeouts."""
        self.air.remove_controller(self)
        self._forget_all()
        self.air.recheck()

    def on_hci_reset_command(self, command: hci.HCI_Reset_Command) -> hci.HCI_StatusReturnParameters:
        """7.3.2: all links are dropped without a word to the peers."""
        self._forget_all()
        self.classic_scan_enable = 0
        asyncio.get_running_loop().call_soon(self.air.recheck)
        return super().on_hci_reset_command(command)

    def _forget_all(self) -> None:
        self.stop_inquiry()
        if self.page is not None:
            self.page.timer.cancel()
            self.page = None
        for state in self.links.values():
            state.stop_supervision()
        self.links.clear()
        self.classic_connections.clear()

    def check_links(self) -> None:
        """Start or stop the supervision of each link, and send what waited for the peer."""
        for address, state in list(self.links.items()):
            if state.theirs(self.public_address) is None:
                timeout_s = state.supervision_timeout_s or self.air.supervision_timeout_s
                state.supervise(timeout_s, partial(self.lose, address, state))
            else:
                state.stop_supervision()
                while state.held:
                    state.held.popleft()()

    def lose(self, address: hci.Address, state: LinkState) -> None:
        """The supervision timeout of a link ran out (error code 0x08)."""
        if self.links.get(address) is state:
            self.on_classic_disconnected(address, _ERROR.CONNECTION_TIMEOUT_ERROR)
            state.peer.check_links()

    def linked_peer(self, address: hci.Address) -> RadioController | None:
        """The controller at the other end, if it is heard and still has this link too."""
        state = self.links.get(address)
        return state.peer if state is not None and state.theirs(self.public_address) else None

    def transmit(self, address: hci.Address, deliver: Delivery) -> None:
        """Hand something to the peer on the event loop's next turn, or when it is heard again."""
        state = self.links.get(address)
        if state is None:
            return
        peer = state.peer
        destination = peer.links.get(self.public_address)

        def arrive() -> None:
            if destination is not None and peer.links.get(self.public_address) is destination:
                deliver(peer)

        if state.theirs(self.public_address) is None:
            state.held.append(arrive)
        elif state.sniff_slots:
            send_at_anchor(state, arrive)
        else:
            asyncio.get_running_loop().call_soon(arrive)

    # HCI in both directions

    def on_packet(self, packet: bytes) -> None:
        """Take one H4 packet from the host; malformed commands are answered, malformed data is dropped."""
        try:
            parsed = hci.HCI_Packet.from_bytes(packet)
        except _MALFORMED:
            if packet[0] == hci.HCI_COMMAND_PACKET:
                (opcode,) = struct.unpack_from("<H", packet, 1)
                self._send_hci_command_status(_ERROR.INVALID_COMMAND_PARAMETERS_ERROR, opcode)
            return
        if isinstance(parsed, hci.HCI_Command):
            self.on_hci_command_packet(parsed)
        elif isinstance(parsed, hci.HCI_AclDataPacket):
            self.on_hci_acl_data_packet(parsed)

    def send_hci_packet(self, packet: hci.HCI_Packet) -> None:
        """Send one event or ACL packet to the host."""
        corrected = self.corrected(packet)
        if corrected is not None:
            self._send(bytes(corrected))

    def on_hci_command_packet(self, command: hci.HCI_Command) -> None:
        """Answer every command, also those that neither Bumble nor this class implements.

        Settings (Write_…, Set_…) are accepted without effect; anything else is an unknown command.
        """
        if hasattr(self, f"on_{command.name.lower()}"):
            super().on_hci_command_packet(command)
        elif isinstance(command, hci.HCI_SyncCommand) or command.name.startswith("HCI_WRITE_"):
            # Of some settings (Write_Current_IAC_LAP) Bumble knows no more than the name.
            accepted = command.name.startswith(("HCI_WRITE_", "HCI_SET_"))
            status = SUCCESS if accepted else _ERROR.UNKNOWN_HCI_COMMAND_ERROR
            self.send_hci_packet(
                hci.HCI_Command_Complete_Event(
                    num_hci_command_packets=1,
                    command_opcode=command.op_code,
                    return_parameters=hci.HCI_StatusReturnParameters(status),
                )
            )
        else:
            self._send_hci_command_status(_ERROR.UNKNOWN_HCI_COMMAND_ERROR, command.op_code)

    def on_hci_acl_data_packet(self, packet: hci.HCI_AclDataPacket) -> None:
        """Send data of the host, or hold it (uncompleted) until the peer listens, or is heard."""
        connection = self.find_classic_connection_by_handle(packet.connection_handle)
        if connection is None:
            return
        state = self.links.get(connection.peer_address)
        if state is not None and state.sniff_slots:
            send_at_anchor(state, partial(self._forward, connection, packet))
        else:
            self._forward(connection, packet)

    def _forward(self, connection: controller.Connection, packet: hci.HCI_AclDataPacket) -> None:
        state = self.links.get(connection.peer_address)
        if self.linked_peer(connection.peer_address) is not None:
            connection.on_hci_acl_data_packet(packet)
        elif state is not None:
            state.held.append(partial(connection.on_hci_acl_data_packet, packet))

    def on_link_acl_data(
        self, sender_address: hci.Address, transport: core.PhysicalTransport, data: bytes
    ) -> None:
        """Pass data of a peer to the host, in fragments."""
        connection = self.classic_connections.get(sender_address)
        if connection is None:
            return
        for offset in range(0, len(data), ACL_FRAGMENT_BYTES):
            fragment = data[offset : offset + ACL_FRAGMENT_BYTES]
            boundary = hci.HCI_ACL_PB_CONTINUATION if offset else hci.HCI_ACL_PB_FIRST_FLUSHABLE
            self.send_hci_packet(
                hci.HCI_AclDataPacket(connection.handle, boundary, 0, len(fragment), fragment)
            )

    def allocate_connection_handle(self) -> int:
        """Never the handle just freed: data on its way to the old link must not enter the new one."""
        self._last_handle = self._last_handle % 0x0EFF + 1
        return self._last_handle

    # Settings that have an effect

    def on_hci_write_scan_enable_command(
        self, command: hci.HCI_Write_Scan_Enable_Command
    ) -> hci.HCI_StatusReturnParameters:
        """7.3.18: bit 0 inquiry scan, bit 1 page scan."""
        result = super().on_hci_write_scan_enable_command(command)
        asyncio.get_running_loop().call_soon(self.air.recheck)
        return result

    def on_hci_write_page_timeout_command(
        self, command: hci.HCI_Write_Page_Timeout_Command
    ) -> hci.HCI_StatusReturnParameters:
        """7.3.16, in slots."""
        if command.page_timeout == 0:
            return hci.HCI_StatusReturnParameters(_ERROR.INVALID_COMMAND_PARAMETERS_ERROR)
        self.page_timeout_s = command.page_timeout * SLOT_S
        return hci.HCI_StatusReturnParameters(SUCCESS)

    def on_hci_write_link_supervision_timeout_command(
        self, command: hci.HCI_Write_Link_Supervision_Timeout_Command
    ) -> hci.HCI_Write_Link_Supervision_Timeout_ReturnParameters:
        """7.3.42, in slots; applies to both ends (Vol 2 Part C 4.1.6)."""
        connection = self.find_classic_connection_by_handle(command.handle)
        status = SUCCESS if connection else _ERROR.UNKNOWN_CONNECTION_IDENTIFIER_ERROR
        if connection is not None:
            seconds = command.link_supervision_timeout * SLOT_S
            state = self.links[connection.peer_address]
            state.supervision_timeout_s = seconds
            if theirs := state.peer.links.get(self.public_address):
                theirs.supervision_timeout_s = seconds
        return hci.HCI_Write_Link_Supervision_Timeout_ReturnParameters(status=status, handle=command.handle)
