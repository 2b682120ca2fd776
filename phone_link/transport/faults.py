"""A stream that misbehaves on purpose: late, garbled, or dead after some bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from phone_link.errors import LinkClosed
from phone_link.transport.base import Stream


@dataclass(frozen=True)
class Faults:
    """What goes wrong. Byte positions count all received bytes from 0.

    Attributes:
        delay_s: seconds each read waits before it hands over what came.
        drop_after: the link dies when so many bytes were received.
        garble: changes received bytes, given their position and value; None changes nothing.
        chunk: most bytes a read hands over at once; None for no bound.
    """

    delay_s: float = 0.0
    drop_after: int | None = None
    garble: Callable[[int, int], int] | None = None
    chunk: int | None = None


class FaultyStream:
    """A `Stream` around another one."""

    def __init__(self, stream: Stream, faults: Faults) -> None:
        self._stream = stream
        self._faults = faults
        self._position = 0
        self._held = b""
        self._closed = threading.Event()

    def read(self, timeout_s: float | None) -> bytes:
        """See `Stream.read`."""
        faults = self._faults
        if not self._held:
            self._held = self._garbled(self._stream.read(timeout_s))
            self._closed.wait(faults.delay_s)
        if faults.drop_after is not None and self._position >= faults.drop_after:
            self._stream.close()
            raise LinkClosed("the link was dropped on purpose")
        left = len(self._held) if faults.drop_after is None else faults.drop_after - self._position
        count = min(left, faults.chunk or left)
        data, self._held = self._held[:count], self._held[count:]
        self._position += len(data)
        return data

    def _garbled(self, data: bytes) -> bytes:
        garble = self._faults.garble
        if garble is None:
            return data
        return bytes(garble(self._position + index, byte) & 0xFF for index, byte in enumerate(data))

    def write(self, data: bytes) -> None:
        """See `Stream.write`."""
        self._stream.write(data)

    def close(self) -> None:
        """See `Stream.close`."""
        self._closed.set()
        self._stream.close()
