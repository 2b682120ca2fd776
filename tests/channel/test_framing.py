import pytest
from hypothesis import given
from hypothesis import strategies as st

from phone_link.at.codec import parse_command_line, parse_values
from phone_link.channel import framing
from phone_link.errors import ProtocolError


@given(st.binary(max_size=3000), st.integers(framing.MIN_LINE_CHARACTERS, 4096))
def test_fragments_fit_their_lines_and_join_again(message, max_line):
    fragments = framing.split_message(message, max_line)
    reassembler = framing.Reassembler()
    results = []
    for last, encoded in fragments:
        line = framing.message_command(last, encoded)
        assert len(f"AT{line}\r") <= max_line
        assert len(framing.message_line(last, encoded)) <= max_line
        (command,) = parse_command_line(line)
        results.append(reassembler.add(command.arguments))
    assert results[:-1] == [None] * (len(fragments) - 1)
    assert results[-1] == message
    assert not reassembler.pending


@given(st.text(max_size=40))
def test_base64_is_canonical_or_refused(text):
    try:
        data = framing.decode_base64(text)
    except ProtocolError:
        return
    assert framing.encode_base64(data) == text


@pytest.mark.parametrize(
    "text", ["A", "AA", "AA=", "AAA", "AB==", "AAB=", "AA==AA==", "A A=", "AA==\n", "----", "=", "ä"]
)
def test_sloppy_base64_is_refused(text):
    with pytest.raises(ProtocolError):
        framing.decode_base64(text)


def test_a_message_over_the_bound_is_refused_and_forgotten():
    reassembler = framing.Reassembler(10)
    piece = parse_values(f'0,"{framing.encode_base64(b"12345678")}"')
    assert reassembler.add(piece) is None
    with pytest.raises(ProtocolError):
        reassembler.add(piece)
    assert not reassembler.pending


@pytest.mark.parametrize(
    "fragment", ["", "1", '2,"AA=="', '1,"AA"', '1,"AA==",1', '"1","AA=="', '01,"AA=="', "1,AA"]
)
def test_malformed_fragments(fragment):
    with pytest.raises(ProtocolError):
        framing.Reassembler().add(parse_values(fragment))


@given(
    st.sampled_from(["XX", "KK"]),
    st.integers(1, 2),
    st.binary(min_size=8, max_size=8),
    st.binary(max_size=96),
)
def test_handshake_commands_fit_and_parse_to_themselves(pattern, step, peer, message):
    line = framing.handshake_command(pattern, step, peer, message)
    assert len(line) + 3 <= framing.HANDSHAKE_LINE_CHARACTERS
    assert framing.parse_handshake(parse_command_line(line)[0]) == (pattern, step, peer, message)


@pytest.mark.parametrize(
    "line", ["*PHS?", '*PHS="KK",1,"00","AA=="', '*PHS="KK",1,9:"0011223344556677","AA=="', "*PHS=1"]
)
def test_malformed_handshake_commands(line):
    with pytest.raises(ProtocolError):
        framing.parse_handshake(parse_command_line(line)[0])


def test_the_configuration_line():
    assert framing.parse_configuration(framing.configuration_line(4096, 2000)[7:]) == (4096, 2000)
    for bad in ("2,1,4096,2000", "1,2,4096,2000", "1,1,100,2000", "1,1,4096,100", "1,1,4096", '1,1,4096,"1"'):
        with pytest.raises(ProtocolError):
            framing.parse_configuration(bad)
