"""A stream over an RFCOMM socket of the kernel, with the manners such a socket needs."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from phone_link.transport.descriptor import DescriptorStream


def why(error: OSError) -> str:
    """Return what an error of an RFCOMM socket means.

    ETIMEDOUT is the link supervision timeout (20 s unless a host chose otherwise): the phone was out of range
    or died. It is no timeout of a read, which a non-blocking descriptor does not have.
    """
    match error.errno:
        case errno.ETIMEDOUT:
            return "the phone is out of Bluetooth range"
        case errno.ECONNRESET:
            return "the phone ended the Bluetooth link"
    return f"the Bluetooth link is gone ({error.strerror or error})"


def rfcomm_stream(sock: socket.socket, on_released: Callable[[], None] | None = None) -> DescriptorStream:
    """Return a stream that owns a connected RFCOMM socket.

    Args:
        sock: Connected.
        on_released: Called once, after the socket has been closed.
    """

    def release() -> None:
        sock.close()
        if on_released is not None:
            on_released()

    # bluetoothd holds the connection as well: without a shutdown, closing our descriptor ends nothing.
    return DescriptorStream(
        sock.fileno(), release=release, shutdown=lambda: sock.shutdown(socket.SHUT_RDWR), why=why
    )
