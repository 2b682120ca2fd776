"""The phone's side: offers the service through BlueZ and takes what connects."""

from __future__ import annotations

import socket

from phone_link.transport.base import Stream, TransportOptions
from phone_link.transport.bluez.answers import RemoteError
from phone_link.transport.bluez.bus import Bus
from phone_link.transport.bluez.objects import choose_adapter
from phone_link.transport.bluez.profile import Profile
from phone_link.transport.bluez.session import explained
from phone_link.transport.bluez.stream import rfcomm_stream
from phone_link.transport.bluez.window import PairingWindow
from phone_link.transport.descriptor import DescriptorStream
from phone_link.transport.queued import QueuedListener

_GONE = "the Bluetooth service of this phone is gone"


class BluezListener(QueuedListener[Stream]):
    """See `phone_link.transport.base.Listener`. A computer that comes back replaces its former connection.

    Args:
        options: `pairing` lets computers find this phone and pair with it from now on; `compare` asks the user.

    Attributes:
        spec: what a computer connects to.

    Raises:
        BluetoothUnavailable, BluetoothDenied, AdapterMissing, AdapterOff: This phone's Bluetooth.
        BluetoothBusy: Another program offers the service already.
    """

    def __init__(self, options: TransportOptions) -> None:
        super().__init__()
        self._streams: dict[str, DescriptorStream] = {}
        self._released = False
        with explained("this phone"):
            self._bus = Bus()
            try:
                adapter = choose_adapter(self._bus.objects())
                self.spec = f"bluetooth:{adapter.address}"
                self._window = PairingWindow(self._bus, adapter, options.compare)
                Profile(self._bus, self._take, self._end, self._lose).register(server=True)
                if options.pairing:
                    self._let_pair(None)
            except BaseException:
                self._bus.close()
                raise
        self._bus.on_lost(self._lose)

    def let_pair(self, seconds: int) -> None:
        """Let computers find this phone and pair with it for so long.

        Raises:
            LinkError: BlueZ refuses.
        """
        with explained("this phone"):
            self._let_pair(seconds)

    def _let_pair(self, seconds: int | None) -> None:
        try:
            self._window.open(seconds)
        except RemoteError:
            self._window.close()  # all of it or nothing
            raise

    def close(self) -> None:
        """See `Listener.close`. Open streams end too: BlueZ drops what came through our profile."""
        self._finish("the listener is closed")
        with self._changed:
            already, self._released = self._released, True
            streams = list(self._streams.values())
        if already:
            return
        for stream in streams:
            stream.close()
        self._window.close()
        self._bus.close()

    # Called by the bus

    def _lose(self) -> None:
        self._finish(_GONE)

    def _take(self, device: str, sock: socket.socket) -> bool:
        with self._changed:
            if not self._welcome():
                return False
            former = self._streams.get(device)
            stream = rfcomm_stream(sock, lambda: self._forget(device, stream))
            self._streams[device] = stream
            self._waiting.append(stream)
            self._changed.notify_all()
        if former is not None:
            former.close()
        return True

    def _end(self, device: str) -> None:
        with self._changed:
            stream = self._streams.get(device)
        if stream is not None:
            stream.close()

    def _forget(self, device: str, stream: Stream) -> None:
        with self._changed:
            if self._streams.get(device) is stream:
                del self._streams[device]
