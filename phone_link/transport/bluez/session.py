"""One use of BlueZ: a bus for a `with` block, and its errors as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from phone_link.transport.bluez.answers import RemoteError, explain
from phone_link.transport.bluez.bus import CALL_TIMEOUT_S, Bus


@contextmanager
def explained(phone: str) -> Iterator[None]:
    """Turn what BlueZ answers into errors of ours that name the phone."""
    try:
        yield
    except RemoteError as error:
        raise explain(error, phone) from None


@contextmanager
def bluez(phone: str, timeout_s: float = CALL_TIMEOUT_S) -> Iterator[Bus]:
    """Connect to BlueZ for the block.

    Args:
        phone: the other side's address, for messages; empty if there is none yet.
        timeout_s: seconds until BlueZ must have answered.

    Raises:
        BluetoothUnavailable, BluetoothDenied: BlueZ cannot be asked.
    """
    with explained(phone):
        bus = Bus(timeout_s)
        try:
            yield bus
        finally:
            bus.close()
