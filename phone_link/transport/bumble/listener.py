"""The phone's side of bumble: a Bumble device with the phonevault service behind a blocking listener."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

from bumble import core, rfcomm, utils

from phone_link.errors import LinkError
from phone_link.transport.base import TransportOptions
from phone_link.transport.bluetooth_uuid import SERVICE_UUID
from phone_link.transport.bumble.device import DEVICE_NAME, BondingDevice, power_on
from phone_link.transport.bumble.rfcomm import FRAME_BYTES, EncryptedServer, FlowDlc
from phone_link.transport.bumble.stream import BumbleStream, run_briefly
from phone_link.transport.link_keys import LinkKeyStore
from phone_link.transport.queued import QueuedListener

SERVICE_RECORD_HANDLE = 0x00010001
START_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 0.45


class BumbleListener(QueuedListener[BumbleStream]):
    """See `phone_link.transport.base.Listener`.

    A computer that comes back replaces its own former connection, noticed as lost or not.

    Args:
        sock: A connected stream socket that speaks HCI H4; owned from now on.
        options: Where link keys are, and whether new ones may be made.

    Raises:
        LinkError: The adapter is in use or fails.
    """

    def __init__(self, sock: socket.socket, options: TransportOptions) -> None:
        super().__init__()
        self._options = options
        self._streams: set[BumbleStream] = set()
        self._device: BondingDevice | None = None
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="bumble", daemon=True)
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(self._start(sock), self._loop)
        try:
            starting.result(START_TIMEOUT_S)
        except TimeoutError:
            self.close()
            sock.close()
            raise LinkError("the Bluetooth adapter does not answer") from None
        except BaseException:
            self.close()
            sock.close()
            raise

    def close(self) -> None:
        """See `Listener.close`. Open streams end too: without the adapter there is no link."""
        with self._changed:
            already = self._closed is not None and not self._thread.is_alive()
            self._finish("the listener is closed")
        if already:
            return
        run_briefly(self._loop, self._stop, STOP_TIMEOUT_S)
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_TIMEOUT_S)

    # In the event loop's thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            if self._transport is not None:
                self._transport.close()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(asyncio.sleep(0))  # transports close in the turn after
        finally:
            self._loop.close()

    async def _start(self, sock: socket.socket) -> None:
        state_dir = self._options.state_dir
        self._device, self._transport = await power_on(
            sock, lambda address: LinkKeyStore(state_dir, address), self._options.pairing, self._on_lost
        )
        server = EncryptedServer(self._device)
        number = server.listen(self._on_dlc, max_frame_size=FRAME_BYTES)
        records = rfcomm.make_service_sdp_records(SERVICE_RECORD_HANDLE, number, core.UUID(SERVICE_UUID))
        self._device.sdp_service_records = {SERVICE_RECORD_HANDLE: records}
        self._device.inquiry_response = bytes(
            core.AdvertisingData(
                [
                    (core.AdvertisingData.COMPLETE_LOCAL_NAME, DEVICE_NAME.encode()),
                    (
                        core.AdvertisingData.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS,
                        bytes(core.UUID(SERVICE_UUID)),
                    ),
                ]
            )
        )
        await self._device.set_discoverable(self._options.pairing)
        await self._device.set_connectable(True)

    async def _stop(self) -> None:
        streams = list(self._streams)
        await asyncio.gather(*(stream.farewell() for stream in streams))
        for stream in streams:
            stream.end()

    def _on_dlc(self, dlc: rfcomm.DLC) -> None:
        assert isinstance(dlc, FlowDlc)
        connection = dlc.multiplexer.l2cap_channel.connection
        with self._changed:
            former = [
                stream
                for stream in self._streams
                if stream.connection.peer_address == connection.peer_address
            ]
            stream = BumbleStream(dlc, connection, self._loop, self._forget)
            welcome = self._welcome()
            self._streams.add(stream)
            if welcome:
                self._waiting.append(stream)
            self._changed.notify_all()
        for gone in former:
            gone.end()
        if not welcome:
            utils.AsyncRunner.spawn(stream.farewell())  # type: ignore[no-untyped-call]

    def _forget(self, stream: BumbleStream) -> None:
        with self._changed:
            self._streams.discard(stream)
            with contextlib.suppress(ValueError):
                self._waiting.remove(stream)

    def _on_lost(self) -> None:
        with self._changed:
            self._finish("the Bluetooth adapter is gone")
            streams = list(self._streams)
        for stream in streams:
            stream.end()
