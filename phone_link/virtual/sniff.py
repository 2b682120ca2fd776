"""Sniff mode of a virtual controller (Core Specification Vol 2 Part B 8.7): both ends listen only every so often.

What is sent meanwhile waits for the next anchor. The anchors of all links lie at multiples of their interval.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from bumble import hci

from phone_link.virtual.authentication import SUCCESS
from phone_link.virtual.discovery import SLOT_S
from phone_link.virtual.links import LinkState
from phone_link.virtual.paging import PagingController

if TYPE_CHECKING:
    from phone_link.virtual.controller import RadioController

MIN_INTERVAL_SLOTS, MAX_INTERVAL_SLOTS = 0x0002, 0xFFFE
"""Vol 4 Part E 7.2.2: only even values."""
_ERROR = hci.HCI_ErrorCode
_LMP_RESPONSE_TIMEOUT = hci.HCI_ErrorCode(0x22)
_MODE = hci.HCI_Mode_Change_Event.Mode


def is_interval(slots: int) -> bool:
    """Whether a sniff interval is one."""
    return MIN_INTERVAL_SLOTS <= slots <= MAX_INTERVAL_SLOTS and slots % 2 == 0


class SniffingController(PagingController):
    """The half of a virtual controller that saves power."""

    def on_hci_sniff_mode_command(self, command: hci.HCI_Sniff_Mode_Command) -> None:
        """7.2.2: the largest interval that the host allows is taken."""
        slots = command.sniff_max_interval
        if not is_interval(slots) or not MIN_INTERVAL_SLOTS <= command.sniff_min_interval <= slots:
            self._send_hci_command_status(_ERROR.INVALID_COMMAND_PARAMETERS_ERROR, command.op_code)
        else:
            self._set_mode(command, slots)

    def on_hci_exit_sniff_mode_command(self, command: hci.HCI_Exit_Sniff_Mode_Command) -> None:
        """7.2.3."""
        self._set_mode(command, 0)

    def _set_mode(
        self, command: hci.HCI_Sniff_Mode_Command | hci.HCI_Exit_Sniff_Mode_Command, slots: int
    ) -> None:
        connection = self.find_classic_connection_by_handle(command.connection_handle)
        if connection is None:
            self._send_hci_command_status(_ERROR.UNKNOWN_CONNECTION_IDENTIFIER_ERROR, command.op_code)
            return
        self._send_hci_command_status(SUCCESS, command.op_code)
        self.set_sniff(connection.peer_address, slots)

    def set_sniff(self, address: hci.Address, slots: int) -> None:
        """Put a link into sniff mode with an interval, or out of it (0); both hosts are told."""
        me = cast("RadioController", self)
        peer = me.linked_peer(address)
        if peer is None:
            self._mode_changed(address, me.links[address].sniff_slots, _LMP_RESPONSE_TIMEOUT)
            return
        for controller, other in ((me, address), (peer, self.public_address)):
            state = controller.links[other]
            state.sniff_slots = slots
            flush_sniff(state)
            controller._mode_changed(other, slots, SUCCESS)

    def _mode_changed(self, address: hci.Address, slots: int, status: hci.HCI_ErrorCode) -> None:
        """7.7.20."""
        self.send_hci_packet(
            hci.HCI_Mode_Change_Event(
                status=status,
                connection_handle=self.classic_connections[address].handle,
                current_mode=_MODE.SNIFF if slots else _MODE.ACTIVE,
                interval=slots,
            )
        )


def send_at_anchor(state: LinkState, send: Callable[[], None]) -> None:
    """Send at the link's next anchor, after what waits already."""
    state.sniffing.append(send)
    if state.anchor is None:
        loop, interval_s = asyncio.get_running_loop(), state.sniff_slots * SLOT_S
        state.anchor = loop.call_at(
            (math.floor(loop.time() / interval_s) + 1) * interval_s, flush_sniff, state
        )


def flush_sniff(state: LinkState) -> None:
    """An anchor has come, or sniff mode has changed: send what waited, in its order."""
    if state.anchor is not None:
        state.anchor.cancel()
        state.anchor = None
    while state.sniffing:
        state.sniffing.popleft()()
