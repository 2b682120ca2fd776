"""Connections of a virtual controller: paging, accepting, refusing, giving up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from bumble import controller, core, hci, lmp

from phone_link.virtual.authentication import SUCCESS
from phone_link.virtual.discovery import DiscoveringController
from phone_link.virtual.links import LinkState, Page

if TYPE_CHECKING:
    from phone_link.virtual.controller import RadioController

PAGE_SCAN = 2
_ERROR = hci.HCI_ErrorCode


class PagingController(DiscoveringController):
    """The connecting half of a virtual controller."""

    page: Page | None = None

    def on_hci_create_connection_command(self, command: hci.HCI_Create_Connection_Command) -> None:
        """7.1.5: page until the peer answers or the page timeout is over."""
        if command.bd_addr in self.links:
            self._send_hci_command_status(_ERROR.CONNECTION_ALREADY_EXISTS_ERROR, command.op_code)
        elif self.page is not None:
            self._send_hci_command_status(_ERROR.COMMAND_DISALLOWED_ERROR, command.op_code)
        else:
            self._send_hci_command_status(hci.HCI_COMMAND_STATUS_PENDING, command.op_code)
            loop = asyncio.get_running_loop()
            timer = loop.call_later(self.page_timeout_s, self._page_timed_out)
            self.page = Page(command.bd_addr, timer, bool(command.allow_role_switch))
            self.try_page()

    def try_page(self) -> None:
        """See whether the paged device hears us now."""
        page = self.page
        if page is None or page.answered:
            return
        me = cast("RadioController", self)
        target = self.air.find(page.address)
        if target is None or target is me or not target.classic_scan_enable & PAGE_SCAN:
            return
        if not self.air.hear_each_other(me, target):
            return
        page.answered = True
        stale = target.links.get(self.public_address)
        if stale is not None:
            # It still believed in a link to our former self; nobody pages through an open link.
            target.lose(self.public_address, stale)
        self.links[page.address] = LinkState(target)
        target.links[self.public_address] = LinkState(me)
        self.classic_connections[page.address] = controller.Connection(
            controller=self,
            handle=0,
            role=hci.Role.CENTRAL,
            self_address=self.public_address,
            peer_address=page.address,
            link=self.air,
            transport=core.PhysicalTransport.BR_EDR,
            link_type=hci.HCI_Connection_Complete_Event.LinkType.ACL,
            classic_allow_role_switch=page.allow_role_switch,
        )
        answer = self.send_lmp_packet(page.address, lmp.LmpHostConnectionReq())
        answer.add_done_callback(lambda future: self._page_answered(page, future.result()))

    def _page_answered(self, page: Page, status: int) -> None:
        if self.page is page:
            self._end_page(page, status)

    def _page_timed_out(self) -> None:
        if (page := self.page) is None:
            return
        if page.answered:
            status = _ERROR.CONNECTION_ACCEPT_TIMEOUT_ERROR
            if (target := self.air.find(page.address)) is not None:
                target.forget(self.public_address)
        else:
            status = _ERROR.PAGE_TIMEOUT_ERROR
        self._end_page(page, status)

    def _end_page(self, page: Page, status: int) -> None:
        page.timer.cancel()
        self.page = None
        if status != SUCCESS:
            self.forget(page.address)
        self.on_classic_connection_complete(page.address, status)

    def forget(self, address: hci.Address) -> None:
        """Drop a connection that never came to be."""
        self.classic_connections.pop(address, None)
        if state := self.links.pop(address, None):
            state.stop_supervision()

    def on_hci_create_connection_cancel_command(
        self, command: hci.HCI_Create_Connection_Cancel_Command
    ) -> hci.HCI_StatusAndAddressReturnParameters:
        """7.1.7: stop paging; the connection then completes with error 0x02."""
        page = self.page
        if page is None or page.address != command.bd_addr or page.answered:
            return self._address_status(command.bd_addr, no_link=True)
        asyncio.get_running_loop().call_soon(
            self._page_answered, page, _ERROR.UNKNOWN_CONNECTION_IDENTIFIER_ERROR
        )
        return self._address_status(command.bd_addr)

    def on_hci_accept_connection_request_command(
        self, command: hci.HCI_Accept_Connection_Request_Command
    ) -> None:
        """7.1.8. Linux wants to become central; a caller that does not allow that stays it, and the link is made all the same."""
        command.role = hci.Role.PERIPHERAL
        super().on_hci_accept_connection_request_command(command)

    def on_hci_reject_connection_request_command(
        self, command: hci.HCI_Reject_Connection_Request_Command
    ) -> None:
        """7.1.9."""
        self._send_hci_command_status(hci.HCI_COMMAND_STATUS_PENDING, command.op_code)
        refusal = lmp.LmpNotAccepted(lmp.Opcode.LMP_HOST_CONNECTION_REQ, command.reason)
        self.send_lmp_packet(command.bd_addr, refusal)
        asyncio.get_running_loop().call_soon(self.forget, command.bd_addr)
        self.on_classic_connection_complete(command.bd_addr, command.reason)

    def on_hci_disconnect_command(self, command: hci.HCI_Disconnect_Command) -> None:
        """7.1.6; our own host is told 0x16, the peer 0x13."""
        connection = self.find_classic_connection_by_handle(command.connection_handle)
        if connection is None:
            self._send_hci_command_status(_ERROR.UNKNOWN_CONNECTION_IDENTIFIER_ERROR, command.op_code)
            return
        self._send_hci_command_status(hci.HCI_COMMAND_STATUS_PENDING, command.op_code)
        self._detach(connection.peer_address, command.reason)

    def close_links(self) -> None:
        """Detach from every peer, as a phone does whose Bluetooth is switched off."""
        for address in list(self.links):
            self._detach(address, _ERROR.REMOTE_USER_TERMINATED_CONNECTION_ERROR)

    def _detach(self, address: hci.Address, reason: int) -> None:
        state = self.links[address]
        theirs = state.theirs(self.public_address)
        self.on_classic_disconnected(address, _ERROR.CONNECTION_TERMINATED_BY_LOCAL_HOST_ERROR)
        if theirs is None:
            self.air.recheck()
        else:
            loop = asyncio.get_running_loop()
            loop.call_soon(state.peer.on_detached, self.public_address, theirs, reason)

    def on_detached(self, address: hci.Address, state: LinkState, reason: int) -> None:
        """LMP_DETACH of the peer arrived."""
        if self.links.get(address) is state:
            self.on_classic_disconnected(address, reason)

    def on_classic_disconnected(self, peer_address: hci.Address, reason: int) -> None:
        """Tell the host that a link is over, whatever ended it."""
        if state := self.links.pop(peer_address, None):
            state.stop_supervision()
        connection = self.classic_connections.get(peer_address)
        if connection is None:
            return
        if connection.handle:
            super().on_classic_disconnected(peer_address, reason)
        elif self.page is not None and self.page.address == peer_address:
            self._end_page(self.page, reason)
        else:
            del self.classic_connections[peer_address]
