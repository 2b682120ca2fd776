"""A Bumble device as phonevault wants it: link keys in our file, pairing only when allowed."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from bumble import hci, utils
from bumble.device import Device, DeviceConfiguration
from bumble.host import Host
from bumble.keys import KeyStore, PairingKeys
from bumble.pairing import PairingConfig, PairingDelegate
from bumble.transport.common import StreamPacketSink, StreamPacketSource

from phone_link.errors import LinkError
from phone_link.transport.link_keys import LinkKeyStore, PeerRecord

DEVICE_NAME = "phonevault phone"
# Bumble tells its troubles (a link lost while a command runs) to the root logger otherwise.
logging.getLogger("bumble").addHandler(logging.NullHandler())


class HciSource(StreamPacketSource):  # type: ignore[misc, unused-ignore]
    """H4 from the controller; unlike Bumble's own, tells when the controller is gone."""

    def __init__(self, on_lost: Callable[[], None]) -> None:
        super().__init__()
        self._on_lost = on_lost

    def connection_lost(self, exc: Exception | None) -> None:
        """The controller closed the socket."""
        self.on_transport_lost()
        self._on_lost()


class BondStore(KeyStore):  # type: ignore[misc, unused-ignore]
    """Bumble's key store interface on our file."""

    def __init__(self, keys: LinkKeyStore) -> None:
        self._keys = keys

    async def get(self, name: str) -> PairingKeys | None:
        """The link key of a peer."""
        record = self._keys.get(_plain(name))
        if record is None:
            return None
        return PairingKeys(
            link_key=PairingKeys.Key(value=record.link_key, authenticated=True), link_key_type=record.key_type
        )

    async def update(self, name: str, keys: PairingKeys) -> None:
        """Keep the link key of a new bond."""
        if keys.link_key is not None and keys.link_key_type is not None:
            self._keys.put(_plain(name), PeerRecord(keys.link_key.value, int(keys.link_key_type)))

    async def delete(self, name: str) -> None:
        """End a bond."""
        self._keys.forget(_plain(name))


def _plain(name: str) -> str:
    return name.removesuffix("/P")


class BondingDevice(Device):  # type: ignore[misc, unused-ignore]
    """A device that pairs only while `pairing` is set, and then by numeric comparison.

    The comparison is accepted without being shown; see `phone_link.transport.classic.security`.
    """

    pairing = False

    def on_authentication_io_capability_request(self, address: hci.Address) -> None:
        """Refuse pairing at its first step unless it is allowed."""
        if self.pairing:
            super().on_authentication_io_capability_request(address)
            return
        refusal = hci.HCI_IO_Capability_Request_Negative_Reply_Command(
            bd_addr=address, reason=hci.HCI_ErrorCode.PAIRING_NOT_ALLOWED_ERROR
        )
        utils.AsyncRunner.spawn(self.host.send_sync_command(refusal))  # type: ignore[no-untyped-call]

    def on_link_key(self, bd_addr: hci.Address, link_key: bytes, key_type: int) -> None:
        """Keep keys of pairings with comparison only."""
        if self.pairing and key_type in (5, 8):
            super().on_link_key(bd_addr, link_key, key_type)


class Comparing(PairingDelegate):  # type: ignore[misc, unused-ignore]
    """Has a display and two buttons, as a phone has."""

    def __init__(self) -> None:
        super().__init__(io_capability=PairingDelegate.IoCapability.DISPLAY_OUTPUT_AND_YES_NO_INPUT)


async def power_on(
    sock: socket.socket, keys_for: Callable[[str], LinkKeyStore], pairing: bool, on_lost: Callable[[], None]
) -> tuple[BondingDevice, asyncio.Transport]:
    """Start a device on a controller; neither connectable nor discoverable yet.

    Args:
        sock: A connected stream socket that speaks H4; owned by the returned transport.
        keys_for: The link keys of an adapter, by its address.
        pairing: Whether new bonds may be made.
        on_lost: Called when the controller is gone.

    Raises:
        LinkError: The controller is gone at once: in use by another program.
    """
    loop = asyncio.get_running_loop()
    transport, source = await loop.create_connection(lambda: HciSource(on_lost), sock=sock)
    configuration = DeviceConfiguration(
        name=DEVICE_NAME,
        classic_enabled=True,
        le_enabled=False,
        classic_sc_enabled=False,
        connectable=False,
        discoverable=False,
        gap_service_enabled=False,
        gatt_service_enabled=False,
    )
    host = Host(controller_source=source, controller_sink=StreamPacketSink(transport))
    device = BondingDevice(config=configuration, host=host)
    device.pairing = pairing
    device.pairing_config_factory = lambda connection: PairingConfig(delegate=Comparing())
    powering = asyncio.ensure_future(device.power_on())
    await asyncio.wait((powering, source.terminated), return_when=asyncio.FIRST_COMPLETED)
    if not powering.done() or powering.exception() is not None:
        powering.cancel()
        transport.abort()
        raise LinkError("the Bluetooth adapter is gone or used by another program")
    device.keystore = BondStore(keys_for(_plain(str(device.public_address))))
    return device, transport
