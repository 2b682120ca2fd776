"""Inquiry and remote names: how virtual controllers find one another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bumble import hci

from phone_link.virtual.authentication import SUCCESS, AuthenticatingController

if TYPE_CHECKING:
    from phone_link.virtual.air import Air

INQUIRY_UNIT_S = 1.28
INQUIRY_RESPONSE_S = 0.05
SLOT_S = 0.625e-3
PAGE_TIMEOUT_S = 0x2000 * SLOT_S
"""Vol 4 Part E 6.6: 5.12 s."""
EIR_BYTES = 240
_ERROR = hci.HCI_ErrorCode


class DiscoveringController(AuthenticatingController):
    """The discovery half of a virtual controller; `air` comes from the class that completes it."""

    air: Air
    page_timeout_s = PAGE_TIMEOUT_S
    inquiry_timers: tuple[asyncio.TimerHandle, ...] = ()
    written_response: bytes = b""

    def on_hci_inquiry_command(self, command: hci.HCI_Inquiry_Command) -> None:
        """7.1.1: every discoverable device in range answers once."""
        if self.inquiry_timers:
            self._send_hci_command_status(_ERROR.COMMAND_DISALLOWED_ERROR, command.op_code)
            return
        self._send_hci_command_status(hci.HCI_COMMAND_STATUS_PENDING, command.op_code)
        loop = asyncio.get_running_loop()
        length_s = command.inquiry_length * INQUIRY_UNIT_S
        self.inquiry_timers = (
            loop.call_later(INQUIRY_RESPONSE_S, self._report_inquiry),
            loop.call_later(length_s, self._complete_inquiry),
        )

    def on_hci_inquiry_cancel_command(
        self, _command: hci.HCI_Inquiry_Cancel_Command
    ) -> hci.HCI_StatusReturnParameters:
        """7.1.2."""
        if not self.inquiry_timers:
            return hci.HCI_StatusReturnParameters(_ERROR.COMMAND_DISALLOWED_ERROR)
        self.stop_inquiry()
        return hci.HCI_StatusReturnParameters(SUCCESS)

    def _report_inquiry(self) -> None:
        for member in self.air.members():
            found = member is not self and member.classic_scan_enable & 1
            if found and self.air.hear_each_other(self, member):
                self.send_hci_packet(member.inquiry_response())

    def on_hci_write_extended_inquiry_response_command(
        self, command: hci.HCI_Write_Extended_Inquiry_Response_Command
    ) -> hci.HCI_StatusReturnParameters:
        """7.3.56."""
        self.written_response = bytes(command.extended_inquiry_response).rstrip(b"\0")
        return hci.HCI_StatusReturnParameters(SUCCESS)

    def inquiry_response(self) -> hci.HCI_Extended_Inquiry_Result_Event:
        """What this device answers to an inquiry: its address, and what its host wrote, else its name."""
        name = self.local_name.encode()[:200]
        response = self.written_response or bytes([len(name) + 1, 0x09]) + name
        return hci.HCI_Extended_Inquiry_Result_Event(
            num_responses=1,
            bd_addr=self.public_address,
            page_scan_repetition_mode=1,
            reserved=0,
            class_of_device=0,
            clock_offset=0,
            rssi=-40,
            extended_inquiry_response=response[:EIR_BYTES].ljust(EIR_BYTES, b"\0"),
        )

    def _complete_inquiry(self) -> None:
        self.stop_inquiry()
        self.send_hci_packet(hci.HCI_Inquiry_Complete_Event(status=SUCCESS))

    def stop_inquiry(self) -> None:
        """End a running inquiry without a word."""
        for timer in self.inquiry_timers:
            timer.cancel()
        self.inquiry_timers = ()

    def on_hci_remote_name_request_command(self, command: hci.HCI_Remote_Name_Request_Command) -> None:
        """7.1.19; also without a connection, then the page may time out."""
        self._send_hci_command_status(hci.HCI_COMMAND_STATUS_PENDING, command.op_code)
        target = self.air.find(command.bd_addr)
        heard = target is not None and self.air.hear_each_other(self, target)
        name = target.local_name.encode() if target is not None and heard else b""
        event = hci.HCI_Remote_Name_Request_Complete_Event(
            status=SUCCESS if heard else _ERROR.PAGE_TIMEOUT_ERROR,
            bd_addr=command.bd_addr,
            remote_name=name[:247].ljust(248, b"\0"),
        )
        delay_s = 0.0 if heard else self.page_timeout_s
        asyncio.get_running_loop().call_later(delay_s, self.send_hci_packet, event)
