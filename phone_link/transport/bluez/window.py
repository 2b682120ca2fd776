"""The time in which a phone lets itself be found and paired with, and how its adapter was before."""

from __future__ import annotations

import contextlib
import threading

from phone_link.transport.base import CompareDigits
from phone_link.transport.bluez import names
from phone_link.transport.bluez.agent import Agent
from phone_link.transport.bluez.answers import RemoteError
from phone_link.transport.bluez.bus import Bus, Typed
from phone_link.transport.bluez.objects import Adapter

_TIMEOUTS = ("PairableTimeout", "DiscoverableTimeout")
_SWITCHES = ("Pairable", "Discoverable")


class PairingWindow:
    """Discoverable, pairable, and with an agent that asks this phone's user; or none of the three.

    Args:
        bus: BlueZ.
        adapter: Powered.
        compare: Asks the user for the comparison.
    """

    def __init__(self, bus: Bus, adapter: Adapter, compare: CompareDigits | None) -> None:
        self._bus = bus
        self._path = adapter.path
        self._agent = Agent(bus, compare)
        self._before: dict[str, Typed] | None = None
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def open(self, seconds: int | None) -> None:
        """Open for so many seconds, None for as long as this object lives.

        Raises:
            RemoteError: BlueZ refuses.
        """
        with self._lock:
            self._cancel()
            if self._before is None:
                self._remember()
                self._agent.register(default=True)
            for name in _TIMEOUTS:  # BlueZ itself ends it, whatever becomes of us
                self._set(name, Typed("u", seconds or 0))
            for name in _SWITCHES:
                self._set(name, Typed("b", True))
            if seconds is not None:
                self._timer = threading.Timer(seconds, self.close)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Put everything back as it was; idempotent."""
        with self._lock:
            self._cancel()
            before, self._before = self._before, None
            if before is None:
                return
            self._agent.unregister()
            for name, value in before.items():
                with contextlib.suppress(RemoteError):
                    self._set(name, value)

    def _remember(self) -> None:
        kinds = dict.fromkeys(_SWITCHES, "b") | dict.fromkeys(_TIMEOUTS, "u")
        self._before = {
            name: Typed(kind, self._bus.get(self._path, names.ADAPTER, name)) for name, kind in kinds.items()
        }

    def _set(self, name: str, value: Typed) -> None:
        self._bus.set(self._path, names.ADAPTER, name, value)

    def _cancel(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
