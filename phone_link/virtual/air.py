"""The air between virtual controllers: who hears whom, who is out of range, how long a link survives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from bumble import core, hci, link, lmp

if TYPE_CHECKING:
    from bumble.controller import Controller

    from phone_link.virtual.controller import RadioController

DEFAULT_SUPERVISION_TIMEOUT_S = 20.0
"""Core Specification Vol 4 Part E 6.21: default 0x7D00 slots of 0.625 ms."""

Delivery = Callable[["RadioController"], None]


def parse_address(text: str) -> hci.Address:
    """Read `F0:F1:F2:F3:F4:F5` as a public device address.

    Raises:
        ValueError: Not six hexadecimal octets.
    """
    octets = text.split(":")
    if len(octets) != 6 or any(len(octet) != 2 for octet in octets):
        raise ValueError(f"not a Bluetooth address: {text!r}")
    return hci.Address(bytes(int(octet, 16) for octet in reversed(octets)), hci.Address.PUBLIC_DEVICE_ADDRESS)


def format_address(address: hci.Address) -> str:
    """Write an address as `F0:F1:F2:F3:F4:F5`, without Bumble's type suffix."""
    return ":".join(f"{octet:02X}" for octet in reversed(bytes(address)))


class Air(link.LocalLink):
    """One room full of controllers; addresses can be walked out of it and back.

    Bumble's LocalLink delivers to whatever controller has the right address. Here a packet travels only
    over a link both ends still believe in, so that a controller which comes up again under its old
    address does not receive what was meant for its former self.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.supervision_timeout_s = DEFAULT_SUPERVISION_TIMEOUT_S
        self.out_of_range: set[hci.Address] = set()

    def members(self) -> list[RadioController]:
        """All controllers that are powered, as the type they really have."""
        return [cast("RadioController", controller) for controller in self.controllers]

    def find(self, address: hci.Address) -> RadioController | None:
        """The powered controller with this address, wherever it is."""
        return next((member for member in self.members() if member.public_address == address), None)

    def hear_each_other(self, one: Controller, other: Controller) -> bool:
        """Whether both are powered and within range."""
        return (
            one in self.controllers
            and other in self.controllers
            and one.public_address not in self.out_of_range
            and other.public_address not in self.out_of_range
        )

    def set_range(self, address: hci.Address, within: bool) -> None:
        """Walk a device out of everybody's range, or back into it."""
        if within:
            self.out_of_range.discard(address)
        else:
            self.out_of_range.add(address)
        self.recheck()

    def set_supervision_timeout(self, seconds: float) -> None:
        """Set the link supervision timeout of links for which no host chose one."""
        self.supervision_timeout_s = seconds
        self.recheck()

    def recheck(self) -> None:
        """Let every controller look at its links and at the page it has running."""
        for member in self.members():
            member.check_links()
        for member in self.members():
            member.try_page()

    def send_acl_data(
        self,
        sender_controller: Controller,
        destination_address: hci.Address,
        transport: core.PhysicalTransport,
        data: bytes,
    ) -> None:
        """Carry one L2CAP PDU; at once, since the receiver only passes it on to its host."""
        sender = cast("RadioController", sender_controller)
        peer = sender.linked_peer(destination_address)
        if peer is not None:
            peer.on_link_acl_data(sender.public_address, transport, data)

    def send_lmp_packet(
        self, sender_controller: Controller, receiver_address: hci.Address, packet: lmp.Packet
    ) -> None:
        """Carry one link manager packet; it waits while the two do not hear each other."""
        sender = cast("RadioController", sender_controller)
        address = sender.public_address
        sender.transmit(receiver_address, lambda peer: peer.on_lmp_packet(address, packet))
