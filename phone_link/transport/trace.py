"""A stream that shows what passes through it. What passes is ciphertext once the channel is up."""

from __future__ import annotations

from collections.abc import Callable

from phone_link.transport.base import Stream

Sink = Callable[[str, bytes], None]
"""Gets "<" and bytes received, ">" and bytes sent."""


class Traced:
    """A `Stream` around another one."""

    def __init__(self, stream: Stream, sink: Sink) -> None:
        self._stream = stream
        self._sink = sink

    def read(self, timeout_s: float | None) -> bytes:
        """See `Stream.read`."""
        data = self._stream.read(timeout_s)
        self._sink("<", data)
        return data

    def write(self, data: bytes) -> None:
        """See `Stream.write`."""
        self._sink(">", data)
        self._stream.write(data)

    def close(self) -> None:
        """See `Stream.close`."""
        self._stream.close()
