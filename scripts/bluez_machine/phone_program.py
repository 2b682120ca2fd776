r"""phonevault-phone as it is, with one more handle for the test.

SIGUSR1 closes the RFCOMM channel of the newest connection and nothing else: the Bluetooth link stays. The
program has no command for that, and a Bluetooth stack of another make may well do it.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from phone_link.phone.cli import main
from phone_link.transport.bumble.listener import BumbleListener
from phone_link.transport.bumble.stream import BumbleStream

_newest: list[BumbleStream] = []
_accept = BumbleListener.accept


def accept(listener: BumbleListener, timeout_s: float | None) -> BumbleStream:
    """As the real one, and remember what it gave."""
    stream = _accept(listener, timeout_s)
    _newest[:] = [stream]
    return stream


def close_channel(*_: object) -> None:
    """DISC on the data channel."""
    for stream in _newest:
        asyncio.run_coroutine_threadsafe(stream._dlc.disconnect(), stream._loop)


if __name__ == "__main__":
    BumbleListener.accept = accept  # type: ignore[method-assign]
    signal.signal(signal.SIGUSR1, close_channel)
    sys.exit(main())
