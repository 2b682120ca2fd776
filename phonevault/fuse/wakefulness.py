"""Keeps processors from sleeping while requests come one after the other, where the system lets us.

A request is handed from the program's processor to ours and back, and while one of them works the other has nothing to do. If it sleeps
then, it has to be woken, which costs a virtual machine tens of microseconds: more than most requests. The kernel's interface for that is a
"PM QoS" request for the processors' latency (Documentation/power/pm_qos_interface.rst): it holds as long as a descriptor of
``/dev/cpu_dma_latency`` is open, and ends with the process. Only root may open it, if the administrator gives it to nobody else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import threading
from pathlib import Path

log = logging.getLogger(__name__)

DEVICE = Path("/dev/cpu_dma_latency")
DRIVER = Path("/sys/devices/system/cpu/cpuidle/current_driver")
BUSY_REQUESTS = 4
"""So many in a tick (fuse/lead.py) and they are short ones that somebody waits for."""
QUIET_TICKS = 5
"""After so many ticks in a row with fewer, processors may sleep again."""
_ANY_US = 2_000_000_000  # PM_QOS_CPU_LATENCY_DEFAULT_VALUE
_SHALLOW_US = 2
_VALUE = struct.Struct("=i")


class Wakefulness:
    """A request to the kernel, made and withdrawn by how many requests come.

    Args:
        fd: of the device, open for writing; None if there is none, or it is not for us. It is closed at :meth:`close`.
        latency_us: that waking a processor may take while it holds, in microseconds.

    Attributes:
        holds: whether processors are kept awake now.
    """

    def __init__(self, fd: int | None, latency_us: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._latency_us = latency_us
        self._quiet = 0
        self.holds = False

    def tick(self, requests: int) -> None:
        """Some time has passed.

        Args:
            requests: that were taken in it.
        """
        if requests >= BUSY_REQUESTS:
            self._quiet = 0
            self._ask(True)
        elif self.holds:
            self._quiet += 1
            if self._quiet >= QUIET_TICKS:
                self._ask(False)

    def pause(self) -> None:
        """Nobody will tell of time that passes, until the next :meth:`tick`."""
        self._ask(False)

    def close(self) -> None:
        """Withdraw it for good."""
        with self._lock:
            fd, self._fd, self.holds = self._fd, None, False
        if fd is not None:
            os.close(fd)

    def _ask(self, hold: bool) -> None:
        with self._lock:
            if self._fd is None or hold is self.holds:
                return
            try:
                os.write(self._fd, _VALUE.pack(self._latency_us if hold else _ANY_US))
                self.holds = hold
            except OSError as error:  # what only saves time must not end the mount
                log.warning("processors are no longer kept awake: %s", error.strerror)
                os.close(self._fd)
                self._fd, self.holds = None, False


def asleep() -> Wakefulness:
    """Asks for nothing."""
    return Wakefulness(None, 0)


def wakefulness(device: Path = DEVICE, driver: Path = DRIVER) -> Wakefulness:
    """What this process may ask for; nothing, if the device is not there or not for it.

    In a virtual machine even the shallowest sleep goes through the host, which its table does not tell: none is allowed. On a real one the
    shallowest (C1, a microsecond or two) may stay.
    """
    try:
        fd = os.open(device, os.O_WRONLY | os.O_CLOEXEC)  # asks for nothing yet
    except OSError as error:
        log.debug("processors are not kept awake: %s", error.strerror)
        return asleep()
    name = ""
    with contextlib.suppress(OSError):
        name = driver.read_text(encoding="ascii").strip()
    return Wakefulness(fd, 0 if name == "haltpoll" else _SHALLOW_US)
