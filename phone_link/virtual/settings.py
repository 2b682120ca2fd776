"""Settings that a host reads from its controller while it starts, or of a link; Linux insists on an answer to each.

Core Specification Vol 4 Part E clauses are given where a command is handled.
"""

from __future__ import annotations

import asyncio

from bumble import hci

from phone_link.virtual.authentication import SUCCESS
from phone_link.virtual.sniff import SniffingController

GENERAL_INQUIRY_LAP = bytes.fromhex("338b9e")
"""GIAC 0x9E8B33, little-endian (Core Specification Vol 2 Part B 1.2.1)."""
KEY_SIZE_BYTES = 16
RSSI_DB = 0
"""Within the golden receive power range."""
VERSION_5_0 = 9
"""As the local version that Bumble reports (Assigned Numbers 2.1)."""
UNKNOWN_COMPANY = 0xFFFF
_NO_LINK = hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR


class SettingsController(SniffingController):
    """The part of a virtual controller that only answers questions."""

    def on_hci_read_voice_setting_command(
        self, _command: hci.HCI_Read_Voice_Setting_Command
    ) -> hci.HCI_Read_Voice_Setting_ReturnParameters:
        """7.3.27; there is no voice."""
        return hci.HCI_Read_Voice_Setting_ReturnParameters(status=SUCCESS, voice_setting=0x0060)

    def on_hci_read_number_of_supported_iac_command(
        self, _command: hci.HCI_Read_Number_Of_Supported_IAC_Command
    ) -> hci.HCI_Read_Number_Of_Supported_IAC_ReturnParameters:
        """7.3.43: it listens for one inquiry access code."""
        return hci.HCI_Read_Number_Of_Supported_IAC_ReturnParameters(status=SUCCESS, num_support_iac=1)

    def on_hci_read_current_iac_lap_command(
        self, _command: hci.HCI_Read_Current_IAC_LAP_Command
    ) -> hci.HCI_Read_Current_IAC_LAP_ReturnParameters:
        """7.3.44: the general one."""
        return hci.HCI_Read_Current_IAC_LAP_ReturnParameters(
            status=SUCCESS, num_support_iac=1, iac_lap=GENERAL_INQUIRY_LAP
        )

    def on_hci_read_page_scan_activity_command(
        self, _command: hci.HCI_Read_Page_Scan_Activity_Command
    ) -> hci.HCI_Read_Page_Scan_Activity_ReturnParameters:
        """7.3.19: the defaults, in slots."""
        return hci.HCI_Read_Page_Scan_Activity_ReturnParameters(
            status=SUCCESS, page_scan_interval=0x0800, page_scan_window=0x0012
        )

    def on_hci_read_page_scan_type_command(
        self, _command: hci.HCI_Read_Page_Scan_Type_Command
    ) -> hci.HCI_Read_Page_Scan_Type_ReturnParameters:
        """7.3.51: standard scan."""
        return hci.HCI_Read_Page_Scan_Type_ReturnParameters(status=SUCCESS, page_scan_type=0)

    def on_hci_read_inquiry_response_transmit_power_level_command(
        self, _command: hci.HCI_Read_Inquiry_Response_Transmit_Power_Level_Command
    ) -> hci.HCI_Read_Inquiry_Response_Transmit_Power_Level_ReturnParameters:
        """7.3.61, in dBm."""
        return hci.HCI_Read_Inquiry_Response_Transmit_Power_Level_ReturnParameters(status=SUCCESS, tx_power=0)

    def on_hci_read_stored_link_key_command(
        self, _command: hci.HCI_Read_Stored_Link_Key_Command
    ) -> hci.HCI_Read_Stored_Link_Key_ReturnParameters:
        """7.3.8: hosts keep the keys."""
        return hci.HCI_Read_Stored_Link_Key_ReturnParameters(status=SUCCESS, max_num_keys=0, num_keys_read=0)

    def on_hci_read_encryption_key_size_command(
        self, command: hci.HCI_Read_Encryption_Key_Size_Command
    ) -> hci.HCI_Read_Encryption_Key_Size_ReturnParameters:
        """7.5.7."""
        return hci.HCI_Read_Encryption_Key_Size_ReturnParameters(
            status=self._status_of(command.connection_handle),
            connection_handle=command.connection_handle,
            key_size=KEY_SIZE_BYTES,
        )

    def on_hci_read_rssi_command(
        self, command: hci.HCI_Read_RSSI_Command
    ) -> hci.HCI_Read_RSSI_ReturnParameters:
        """7.5.4: the emulated air has no distances."""
        return hci.HCI_Read_RSSI_ReturnParameters(
            status=self._status_of(command.handle), handle=command.handle, rssi=RSSI_DB
        )

    def on_hci_read_remote_version_information_command(
        self, command: hci.HCI_Read_Remote_Version_Information_Command
    ) -> None:
        """7.1.23."""
        self._send_hci_command_status(hci.HCI_COMMAND_STATUS_PENDING, command.op_code)
        event = hci.HCI_Read_Remote_Version_Information_Complete_Event(
            status=self._status_of(command.connection_handle),
            connection_handle=command.connection_handle,
            version=VERSION_5_0,
            manufacturer_name=UNKNOWN_COMPANY,
            subversion=0,
        )
        asyncio.get_running_loop().call_soon(self.send_hci_packet, event)

    def on_hci_read_clock_offset_command(self, command: hci.HCI_Read_Clock_Offset_Command) -> None:
        """7.1.24: paging takes no time here, so the offset does not matter."""
        self._send_hci_command_status(hci.HCI_COMMAND_STATUS_PENDING, command.op_code)
        event = hci.HCI_Read_Clock_Offset_Complete_Event(
            status=self._status_of(command.connection_handle),
            connection_handle=command.connection_handle,
            clock_offset=0,
        )
        asyncio.get_running_loop().call_soon(self.send_hci_packet, event)

    def _status_of(self, handle: int) -> hci.HCI_ErrorCode:
        return SUCCESS if self.find_classic_connection_by_handle(handle) else _NO_LINK
