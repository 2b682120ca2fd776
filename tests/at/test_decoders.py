import pytest
from hypothesis import given
from hypothesis import strategies as st

from phone_link.at.command_decoder import CommandLineDecoder
from phone_link.at.response_decoder import ResultLineDecoder, parse_final
from phone_link.at.types import ERROR, OK, CmeError
from phone_link.errors import ProtocolError


def decode_commands(chunks, max_line=64):
    decoder = CommandLineDecoder(max_line)
    echo, lines = b"", []
    for chunk in chunks:
        decoder.feed(chunk)
        while (step := decoder.next()) is not None:
            echo += step.received
            if step.body is not None or step.problem is not None:
                lines.append(step.body if step.problem is None else ERROR)
    return echo, lines


def decode_results(chunks, max_line=64):
    decoder = ResultLineDecoder(max_line)
    lines = []
    try:
        for chunk in chunks:
            decoder.feed(chunk)
            while (line := decoder.next()) is not None:
                lines.append(line)
    except ProtocolError:
        return lines, "refused"
    return lines, "open"


line_bytes = st.lists(
    st.sampled_from([b"AT", b"at", b"A/", b"\r", b"\n", b"\b", b"A", b"*X", b"\x00", b"\xff", b"x" * 30]),
    max_size=30,
).map(b"".join)  # fmt: skip


@given(st.one_of(st.binary(max_size=200), line_bytes))
def test_commands_come_out_the_same_byte_by_byte(data):
    whole = decode_commands([data])
    assert decode_commands([data[i : i + 1] for i in range(len(data))]) == whole
    assert whole[0] == data


@given(st.one_of(st.binary(max_size=200), st.text(alphabet="OK\r\nA*: ", max_size=200).map(str.encode)))
def test_results_come_out_the_same_byte_by_byte(data):
    lines, end = decode_results([data])
    singly, end_singly = decode_results([data[i : i + 1] for i in range(len(data))])
    assert end_singly == end
    # A refusal drops what came with the same read; the lines before it are a prefix.
    assert singly[: len(lines)] == lines
    assert end == "refused" or singly == lines


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"AT\r", [""]),
        (b"noise AT*X?\r", ["*X?"]),
        (b"aTAT\r", [""]),
        (b"At\r", []),
        (b"AAT\r", [""]),
        (b"AT*XY\b?\r", ["*X?"]),
        (b"AT\b\b\bE0\r", ["E0"]),
        (b"AT*X?\rA/", ["*X?", "*X?"]),
        (b"a/", [""]),
        (b"AT*X\x00?\n\r", ["*X?"]),
        (b"AT*X\xe4\rAT\r", [ERROR, ""]),
        (b"AT" + b"x" * 61 + b"\r", ["x" * 61]),
        (b"AT" + b"x" * 62 + b"\rAT\r", [ERROR, ""]),
        (b"AT" + b"x" * 5000 + b"\rATE0\r", [ERROR, "E0"]),
    ],
)
def test_command_lines(data, lines):
    assert decode_commands([data])[1] == lines


def test_a_bad_line_is_not_repeated():
    assert decode_commands([b"AT*X?\rAT\xff\rA/"])[1] == ["*X?", ERROR, "*X?"]


def test_the_terminator_may_be_a_printable_character():
    decoder = CommandLineDecoder()
    decoder.terminator = ord("!")
    decoder.feed(b"ATE0!")
    step = decoder.next()
    assert step is not None and step.body == "E0"


def test_an_endless_line_does_not_grow_the_decoders():
    with pytest.raises(ProtocolError):
        ResultLineDecoder(100).feed(b"x" * 101)
    with pytest.raises(ProtocolError):
        ResultLineDecoder(100).feed(b"\x80")


@pytest.mark.parametrize(
    ("line", "final"),
    [
        ("OK", OK),
        ("ERROR", ERROR),
        ("+CME ERROR: 16", CmeError(16)),
        ("+CME ERROR:3", CmeError(3)),
        ("OK ", None),
        ("*X: OK", None),
        ("+CME ERROR: SIM busy", None),
        ("+CME ERROR: 1234567", None),
    ],
)
def test_final_result_codes_are_whole_lines(line, final):
    assert parse_final(line) == final
