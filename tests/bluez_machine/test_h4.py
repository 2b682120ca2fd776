"""Cutting a stream of H4 into packets."""

from __future__ import annotations

from itertools import pairwise

import pytest
from bluez_machine.guest.h4 import NotH4, Packets
from hypothesis import given
from hypothesis import strategies as st

COMMAND = st.binary(max_size=255).map(lambda data: b"\x01\x03\x0c" + bytes([len(data)]) + data)
ACL = st.binary(max_size=1021).map(lambda data: b"\x02\x01\x20" + len(data).to_bytes(2, "little") + data)
SYNCHRONOUS = st.binary(max_size=255).map(lambda data: b"\x03\x01\x00" + bytes([len(data)]) + data)
EVENT = st.binary(max_size=255).map(lambda data: b"\x04\x0e" + bytes([len(data)]) + data)


@given(
    st.lists(st.one_of(COMMAND, ACL, SYNCHRONOUS, EVENT), max_size=8),
    st.lists(st.integers(0, 4000), max_size=20),
)
def test_packets_come_out_as_they_went_in_however_they_arrive(packets: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(packets)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    cutter = Packets()
    found = []
    for begin, end in pairwise(places):
        found += cutter.feed(stream[begin:end])
    assert found == packets


def test_a_stream_out_of_step_is_an_error() -> None:
    with pytest.raises(NotH4, match="indicator 9"):
        list(Packets().feed(b"\x09"))
