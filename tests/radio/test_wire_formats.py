"""The lean host's formats against Bumble's, and against hostile bytes."""

from __future__ import annotations

import pytest
from bumble import core, rfcomm, sdp
from bumble.rfcomm import RFCOMM_MCC_PN, RFCOMM_Frame
from hypothesis import given
from hypothesis import strategies as st

from phone_link.errors import ProtocolError
from phone_link.transport.bluetooth_uuid import SERVICE_UUID
from phone_link.transport.classic import hci
from phone_link.transport.classic import rfcomm_frames as frames
from phone_link.transport.classic.rfcomm_frames import ControlMessage, Frame, Parameters
from phone_link.transport.classic.sdp import ChannelQuery

UUID_BYTES = bytes.fromhex(SERVICE_UUID.replace("-", ""))
KINDS = st.sampled_from([frames.SABM, frames.UA, frames.DM, frames.DISC])
DLCIS = st.integers(0, 61)


@given(KINDS, DLCIS, st.booleans())
def test_control_frames_are_bumbles(kind: int, dlci: int, command: bool) -> None:
    ours = Frame(kind, dlci, command)
    theirs = RFCOMM_Frame(rfcomm.FrameType(kind), int(command), dlci, 1)
    assert ours.encode() == bytes(theirs)
    assert frames.parse(bytes(theirs)) == ours


@given(st.integers(1, 61), st.binary(max_size=300), st.integers(0, 255))
def test_data_frames_are_bumbles(dlci: int, data: bytes, credit: int) -> None:
    for ours, information in (
        (Frame(frames.UIH, dlci, True, False, data), data),
        (Frame(frames.UIH, dlci, True, True, data, credit), bytes([credit]) + data),
    ):
        theirs = RFCOMM_Frame.uih(1, dlci, information, p_f=int(ours.poll))
        assert ours.encode() == bytes(theirs)
        assert frames.parse(bytes(theirs)) == ours


@given(st.integers(2, 61), st.integers(1, 0x7FFF), st.integers(1, 7))
def test_parameter_negotiation_is_bumbles(dlci: int, size: int, credit: int) -> None:
    ours = Parameters(dlci, frames.CREDIT_FLOW_REQUEST, size, credit)
    theirs = RFCOMM_MCC_PN(dlci, 0xF0, 7, 0, size, 0, credit)
    assert ours.encode() == bytes(theirs)
    assert Parameters.parse(bytes(theirs)) == ours
    message = ControlMessage(frames.PN, True, ours.encode())
    assert message.encode() == RFCOMM_Frame.make_mcc(frames.PN, 1, bytes(theirs))
    assert frames.parse_control(message.encode()) == message


@given(st.binary(max_size=40))
def test_hostile_frames_parse_or_are_protocol_errors(data: bytes) -> None:
    for parser in (frames.parse, frames.parse_control, Parameters.parse):
        try:
            parser(data)
        except ProtocolError:
            continue


@given(st.binary(max_size=40), st.integers(1, 255))
def test_a_changed_address_does_not_pass_the_check(data: bytes, change: int) -> None:
    bad = bytearray(Frame(frames.UIH, 2, True, False, data).encode())
    bad[0] ^= change
    with pytest.raises(ProtocolError):
        frames.parse(bytes(bad))


def record(channel: int, uuid: str = SERVICE_UUID) -> bytes:
    attributes = rfcomm.make_service_sdp_records(0x10001, channel, core.UUID(uuid))
    found = [item for item in attributes if item.id == sdp.SDP_PROTOCOL_DESCRIPTOR_LIST_ATTRIBUTE_ID]
    values = [sdp.DataElement.unsigned_integer_16(found[0].id), found[0].value]
    return bytes(sdp.DataElement.sequence([sdp.DataElement.sequence(values)]))


def response(transaction: int, part: bytes, continuation: bytes = b"") -> bytes:
    body = len(part).to_bytes(2, "big") + part + bytes([len(continuation)]) + continuation
    return b"\x07" + transaction.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body


def test_request_is_understood_by_bumble() -> None:
    request = sdp.SDP_PDU.from_bytes(ChannelQuery(UUID_BYTES).request())
    assert isinstance(request, sdp.SDP_ServiceSearchAttributeRequest)
    assert [element.value for element in request.service_search_pattern.value] == [core.UUID(SERVICE_UUID)]
    assert [element.value for element in request.attribute_id_list.value] == [4]


@given(st.integers(1, 30), st.integers(1, 60))
def test_channel_of_a_record_in_pieces(channel: int, size: int) -> None:
    query, attributes = ChannelQuery(UUID_BYTES), record(channel)
    pieces = [attributes[start : start + size] for start in range(0, len(attributes), size)][:32]
    if b"".join(pieces) != attributes:
        return
    for number, piece in enumerate(pieces, start=1):
        query.request()
        last = number == len(pieces)
        assert query.answer(response(number, piece, b"" if last else b"\1")) == (None if last else b"\1")
    assert query.channel() == channel


def test_no_record_is_no_channel() -> None:
    query = ChannelQuery(UUID_BYTES)
    query.request()
    assert query.answer(response(1, b"\x35\x00")) is None
    assert query.channel() is None


@given(st.binary(max_size=80))
def test_hostile_records_are_protocol_errors_or_no_channel(attributes: bytes) -> None:
    query = ChannelQuery(UUID_BYTES)
    query.request()
    query.answer(response(1, attributes))
    try:
        channel = query.channel()
    except ProtocolError:
        return
    assert channel is None or 1 <= channel <= 30


@given(st.binary(max_size=40))
def test_hostile_answers_are_protocol_errors(pdu: bytes) -> None:
    query = ChannelQuery(UUID_BYTES)
    query.request()
    try:
        query.answer(pdu)
    except ProtocolError:
        return
    assert pdu[:3] == b"\x07\0\1"


def test_endless_answers_end() -> None:
    query = ChannelQuery(UUID_BYTES)
    with pytest.raises(ProtocolError, match="endless"):
        for number in range(1, 1000):
            query.request(b"\1")
            query.answer(response(number, b"", b"\1"))


def test_deep_nesting_is_refused() -> None:
    query = ChannelQuery(UUID_BYTES)
    query.request()
    element = b""
    for _ in range(40):
        element = b"\x35" + bytes([len(element)]) + element
    query.answer(response(1, element))
    with pytest.raises(ProtocolError):
        query.channel()


PACKETS = st.one_of(
    st.tuples(st.just(hci.EVENT_PACKET), st.integers(0, 255), st.binary(max_size=255)),
    st.tuples(st.just(hci.ACL_PACKET), st.integers(0, 0xFFFF), st.binary(max_size=600)),
)


@given(st.lists(PACKETS, max_size=8), st.integers(1, 50))
def test_packets_are_the_same_however_they_are_cut(packets: list[tuple[int, int, bytes]], cut: int) -> None:
    stream = b"".join(
        bytes([kind, field, len(payload)]) + payload
        if kind == hci.EVENT_PACKET
        else hci.acl(field & 0xFFF, field >> 12, payload)
        for kind, field, payload in packets
    )
    splitter = hci.PacketSplitter()
    found = []
    for start in range(0, len(stream), cut):
        found += list(splitter.feed(stream[start : start + cut]))
    assert found == packets


@pytest.mark.parametrize("kind", [0, 1, 3, 5, 255])
def test_packet_types_of_no_controller(kind: int) -> None:
    with pytest.raises(ProtocolError):
        list(hci.PacketSplitter().feed(bytes([kind])))


def test_addresses() -> None:
    assert hci.parse_address("F0:F1:F2:F3:F4:F5") == bytes.fromhex("f5f4f3f2f1f0")
    assert hci.format_address(bytes.fromhex("f5f4f3f2f1f0")) == "F0:F1:F2:F3:F4:F5"
    wrong = ("", "F0:F1:F2:F3:F4", "F0:F1:F2:F3:F4:F5:F6", "F0:F1:F2:F3:F4:GG", "F0F1F2F3F4F5")
    for bad in (*wrong, "F:0:1:2:3:4"):
        with pytest.raises(ValueError, match=r".+"):
            hci.parse_address(bad)
