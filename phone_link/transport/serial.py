"""serial:DEVICE?baud=115200&rtscts=0: a real serial line or USB modem, set up by pyserial."""

from __future__ import annotations

import select
import threading
from urllib.parse import parse_qsl

from phone_link.errors import LinkClosed, LinkError, LinkTimeout, PhoneAbsent, SpecError
from phone_link.transport.descriptor import DescriptorStream, Waker

DEFAULT_BAUD = 115200


def parse_serial(rest: str) -> tuple[str, int, bool]:
    """Return device, baud rate and whether RTS/CTS flow control is on; `SpecError` if malformed."""
    device, _, query = rest.partition("?")
    if not device.startswith("/"):
        raise SpecError(f"serial:{rest}: the device must be an absolute path")
    baud, rtscts = str(DEFAULT_BAUD), "0"
    try:
        for key, value in parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)):
            match key:
                case "baud":
                    baud = value
                case "rtscts":
                    rtscts = value
                case _:
                    raise SpecError(f"serial:{rest}: unknown option {key!r}")
    except ValueError as error:
        raise (
            error if isinstance(error, SpecError) else SpecError(f"serial:{rest}: malformed options")
        ) from None
    if not (baud.isascii() and baud.isdigit() and 50 <= int(baud) <= 4_000_000) or rtscts not in ("0", "1"):
        raise SpecError(f"serial:{rest}: baud is a number, rtscts 0 or 1")
    return device, int(baud), rtscts == "1"


def connect_serial(rest: str) -> DescriptorStream:
    """Open a serial line; `PhoneAbsent` if the device is not there, `LinkError` if it is in use."""
    import serial

    device, baud, rtscts = parse_serial(rest)
    try:
        port = serial.Serial(device, baud, timeout=0, write_timeout=0, rtscts=rtscts, exclusive=True)
        port.reset_input_buffer()
    except serial.SerialException as error:
        reason = str(error).splitlines()[0]
        if getattr(error, "errno", None) in (2, 6, 19):  # ENOENT, ENXIO, ENODEV
            raise PhoneAbsent(f"no phone at serial:{device}", hint="is the cable plugged in?") from None
        raise LinkError(f"cannot open serial:{device} ({reason})") from None
    return DescriptorStream(port.fileno(), release=port.close)


class SerialListener:
    """A `Listener` on the phone's end of a cable: one connection begins with the first byte that comes."""

    def __init__(self, rest: str) -> None:
        self._rest = rest
        self._waker = Waker()
        self._lock = threading.Lock()
        self._close_lock = threading.Lock()
        self._closed = False

    def accept(self, timeout_s: float | None) -> DescriptorStream:
        """See `Listener.accept`. The line is opened here and belongs to the stream."""
        with self._lock:
            if self._closed:
                raise LinkClosed("the listener is closed")
            stream = connect_serial(self._rest)
            try:
                if not self._waker.wait(stream.fileno(), select.POLLIN, timeout_s):
                    raise LinkTimeout("nobody connected in time")
            except LinkError:
                stream.close()
                raise
            return stream

    def close(self) -> None:
        """See `Listener.close`."""
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
        self._waker.set()
        with self._lock:
            self._waker.close()


def listen_serial(rest: str) -> SerialListener:
    """Wait for a computer on a serial line (a USB gadget port, for instance)."""
    parse_serial(rest)
    return SerialListener(rest)
