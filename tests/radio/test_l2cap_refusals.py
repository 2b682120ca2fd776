"""What the lean host does when a peer refuses a channel. The peer is a mock of the link below L2CAP."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from phone_link.errors import LinkError
from phone_link.transport.classic.l2cap import L2cap

RFCOMM_PSM = 3
NOT_SUPPORTED, SECURITY_BLOCK = 2, 3


class RefusingLink:
    """A link whose peer gives these results to connection requests, and opens the channel after the last."""

    def __init__(self, *results: int) -> None:
        self.adapter = SimpleNamespace(changed=threading.RLock())
        self.results = list(results)
        self.requests = 0
        self.on_pdu: Callable[[int, bytes], None] = lambda identifier, payload: None

    def send(self, _channel: int, payload: bytes) -> None:
        code, number, _ = struct.unpack_from("<BBH", payload)
        if code == 0x02:  # connection request
            self.requests += 1
            (own,) = struct.unpack_from("<H", payload, 6)
            result = self.results.pop(0) if self.results else 0
            self.answer(0x03, number, struct.pack("<HHHH", 0x50, own, result, 0))
            if not result:
                self.answer(0x04, 9, struct.pack("<HH", own, 0))
        elif code == 0x04:  # configuration request
            self.answer(0x05, number, struct.pack("<HHH", 0x40 + self.requests - 1, 0, 0))

    def answer(self, code: int, number: int, data: bytes) -> None:
        self.on_pdu(1, struct.pack("<BBH", code, number, len(data)) + data)

    def wait(self, condition: Callable[[], bool], _deadline: float, _late: str) -> None:
        assert condition()


def open_channel(link: Any) -> Any:
    return L2cap(link).open(RFCOMM_PSM, lambda data: None, time.monotonic() + 5)


def test_a_peer_that_learns_of_the_encryption_late_is_asked_again() -> None:
    link = RefusingLink(SECURITY_BLOCK, SECURITY_BLOCK)
    assert open_channel(link).is_open
    assert link.requests == 3


def test_a_service_that_is_not_there_is_asked_for_once() -> None:
    link = RefusingLink(NOT_SUPPORTED)
    with pytest.raises(LinkError, match=r"no Bluetooth service 3 \(result 2\)"):
        open_channel(link)
    assert link.requests == 1


def test_security_that_stays_wrong_is_an_error() -> None:
    link = RefusingLink(*[SECURITY_BLOCK] * 1000)
    with pytest.raises(LinkError, match=r"result 3"):
        open_channel(link)
    assert 1 < link.requests < 100
