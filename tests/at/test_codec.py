import pytest
from hypothesis import given
from hypothesis import strategies as st

from phone_link.at.codec import (
    escape,
    format_command,
    format_command_line,
    format_values,
    parse_command_line,
    parse_values,
    unescape,
)
from phone_link.at.types import Argument, Command, Form
from phone_link.errors import ProtocolError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
tokens = st.from_regex(r"[0-9A-F]{0,12}|@[0-9]{0,6}", fullmatch=True)
arguments = st.one_of(
    st.builds(Argument, tokens), st.builds(Argument, st.just(""), texts), st.builds(Argument, tokens, texts)
)
names = st.from_regex(r"[+*][A-Z][A-Z0-9!%./:_-]{0,15}", fullmatch=True)
values = st.lists(arguments, min_size=1, max_size=8).map(tuple)
extended = st.one_of(
    st.builds(Command, names, st.sampled_from([Form.EXECUTE, Form.READ, Form.TEST])),
    st.builds(Command, names, st.just(Form.SET), values),
)
numbers = st.integers(0, 10**9).map(lambda n: Argument(str(n)))
basic_names = st.sampled_from([*"BCEFGHIJKLMNOPQRTUVWXYZ", "&F", "&W"])
basic = st.builds(
    Command, basic_names, st.just(Form.EXECUTE), st.one_of(st.just(()), numbers.map(lambda n: (n,)))
)
parameters = st.integers(0, 255).flatmap(
    lambda n: st.one_of(
        st.just(Command(f"S{n}", Form.READ)), numbers.map(lambda v: Command(f"S{n}", Form.SET, (v,)))
    )
)
commands = st.one_of(extended, basic, parameters)


@given(commands)
def test_a_formatted_command_parses_to_itself(command):
    assert parse_command_line(format_command(command)) == (command,)


@given(st.lists(commands, min_size=1, max_size=6).map(tuple))
def test_a_formatted_line_parses_to_its_commands(line):
    assert parse_command_line(format_command_line(line)) == line


@given(values)
def test_formatted_values_parse_to_themselves(line):
    assert parse_values(format_values(line)) == line


@given(texts)
def test_any_text_survives_its_escapes_as_printable_ascii(text):
    inside = escape(text)
    assert unescape(inside) == text
    assert inside.isascii() and '"' not in inside and (inside.isprintable() or not inside)


@given(st.text(max_size=60))
def test_garbage_gives_commands_or_a_protocol_error(body):
    try:
        line = parse_command_line(body)
    except ProtocolError:
        return
    assert all(isinstance(command, Command) for command in line) and line


@given(st.text(alphabet='*+AE0123"\\=?,;:@ S', max_size=40))
def test_what_parses_is_canonical_after_one_formatting(body):
    try:
        line = parse_command_line(body)
    except ProtocolError:
        return
    if line != (Command(""),):
        canonical = format_command_line(line)
        assert parse_command_line(canonical) == line
        assert format_command_line(parse_command_line(canonical)) == canonical


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", (Command(""),)),
        ("E0", (Command("E", Form.EXECUTE, (Argument("0"),)),)),
        ("e0v", (Command("E", Form.EXECUTE, (Argument("0"),)), Command("V"))),
        ("S3?", (Command("S3", Form.READ),)),
        ("S3=13", (Command("S3", Form.SET, (Argument("13"),)),)),
        ("*pinfo?", (Command("*PINFO", Form.READ),)),
        ("+CMEE=?", (Command("+CMEE", Form.TEST),)),
        ("*X=", (Command("*X", Form.SET, (Argument(),)),)),
        ("*X=1,,2", (Command("*X", Form.SET, (Argument("1"), Argument(), Argument("2"))),)),
        ('*X= 1 , "a;b" ', (Command("*X", Form.SET, (Argument("1"), Argument("", "a;b"))),)),
        ('*PDEC=9:"0A0B",@', (Command("*PDEC", Form.SET, (Argument("9", "0A0B"), Argument("@"))),)),
        ("E1*A;*B?", (Command("E", Form.EXECUTE, (Argument("1"),)), Command("*A"), Command("*B", Form.READ))),
        (r'*X="\22\5C\C3\A4"', (Command("*X", Form.SET, (Argument("", '"\\ä'),)),)),
    ],
)  # fmt: skip
def test_lines_of_the_recommendation(body, expected):
    assert parse_command_line(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        '*X="open',
        '*X="a"b',
        '*X="a""b"',
        '*X=1"a"',
        '*X=:"a"',
        "*X=1:",
        "*X=1 2",
        "*X=g",
        "*X=0a",
        r'*X="\2"',
        r'*X="\zz"',
        r'*X="\2a"',
        r'*X="\FF"',
        "*X;",
        "*X;;*Y",
        ";",
        "*X?1",
        "*",
        "*1",
        "+" + "A" * 17,
        "DT123",
        "&",
        "S",
        "S3",
        "S1234=1",
        "E\t0",
        "*X=\x7f",
        "*Xä",
        "E0;" * 20,
        "*X;" * 17 + "*X",
        "*X=" + "," * 200,
    ],
)
def test_bad_lines_are_refused(body):
    with pytest.raises(ProtocolError):
        parse_command_line(body)


def test_arguments_say_what_they_are():
    mixed = Argument("9", "0A0B")
    assert mixed.hex_integer() == 9
    assert mixed.hex_bytes() == b"\x0a\x0b"
    assert Argument("10").integer() == 10
    assert Argument("10").hex_integer() == 16
    assert Argument("", "x").string() == "x"
    assert Argument().empty


@pytest.mark.parametrize(
    ("argument", "method"),
    [
        (Argument(), "integer"),
        (Argument("A"), "integer"),
        (Argument("1", "x"), "integer"),
        (Argument("9" * 19), "integer"),
        (Argument("@1"), "hex_integer"),
        (Argument("F" * 17), "hex_integer"),
        (Argument("1"), "string"),
        (Argument("1", "x"), "string"),
        (Argument("1"), "hex_bytes"),
        (Argument("", "ABC"), "hex_bytes"),
        (Argument("", "ab"), "hex_bytes"),
    ],
)
def test_arguments_of_another_kind_are_refused(argument, method):
    with pytest.raises(ProtocolError):
        getattr(argument, method)()
