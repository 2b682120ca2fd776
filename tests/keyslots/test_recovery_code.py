from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyslots.errors import BadRecoveryCode
from keyslots.recovery_code import format_code, parse_code, wrong_groups
from keyslots.secret import Secret

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CODES = st.binary(min_size=20, max_size=20)


def printed(code: bytes) -> str:
    return format_code(Secret.take(bytearray(code))).decode("ascii")


def independent(code: bytes) -> str:
    """docs/format.md 1.3 with one big integer, which the product avoids."""
    digest = hashlib.sha256(b"phonevault v1 recovery code" + code).digest()
    number = int.from_bytes(code, "big") << 20 | int.from_bytes(digest, "big") >> 236
    text = "".join(ALPHABET[number >> 5 * (35 - i) & 31] for i in range(36))
    return "-".join(text[i : i + 4] for i in range(0, 36, 4))


@given(CODES)
def test_the_printed_form_is_that_of_the_specification(code: bytes) -> None:
    assert printed(code) == independent(code)
    assert bytes(parse_code(printed(code)).view) == code


def test_fixed_codes() -> None:
    assert printed(bytes(20)) == "0000-0000-0000-0000-0000-0000-0000-0000-ERYR"
    assert printed(b"\xff" * 20).startswith("ZZZZ-ZZZZ-ZZZZ-ZZZZ-ZZZZ-ZZZZ-ZZZZ-ZZZZ-")


@given(CODES, st.randoms(use_true_random=False))
def test_case_blanks_hyphens_and_look_alikes_do_not_count(code: bytes, rng: random.Random) -> None:
    typed = ""
    for character in printed(code).replace("-", ""):
        look_alikes = {"0": "0Oo", "1": "1IiLl"}.get(character, character + character.lower())
        typed += rng.choice(look_alikes) + rng.choice(["", "", " ", "-", "\n", "\t", " - "])
    assert bytes(parse_code(typed).view) == code
    assert bytes(parse_code(bytearray(typed.encode())).view) == code


def accepted_of(mistakes: list[str]) -> int:
    accepted = 0
    for typed in mistakes:
        try:
            parse_code(typed)
        except BadRecoveryCode:
            continue
        accepted += 1
    return accepted


def test_one_wrong_character_is_found() -> None:
    """Every single substitution of four codes: 4 × 36 × 31 = 4464 mistakes.

    20 bits pass one of 2^20 by chance: 0.004 are expected here, and two would be a wonder of 1 in 100,000.
    """
    rng = random.Random(1)
    mistakes = []
    for _ in range(4):
        text = printed(rng.randbytes(20)).replace("-", "")
        for position, right in enumerate(text):
            mistakes += [text[:position] + c + text[position + 1 :] for c in ALPHABET if c != right]
    assert len(mistakes) == 4464
    assert accepted_of(mistakes) == 0


def test_transposed_characters_are_found() -> None:
    """All transpositions of two characters, neighbours or not, of five codes."""
    rng = random.Random(2)
    mistakes = []
    for _ in range(5):
        text = printed(rng.randbytes(20)).replace("-", "")
        for i in range(36):
            for j in range(i + 1, 36):
                if text[i] != text[j]:
                    swapped = list(text)
                    swapped[i], swapped[j] = swapped[j], swapped[i]
                    mistakes.append("".join(swapped))
    assert len(mistakes) > 2500
    assert accepted_of(mistakes) == 0


def test_each_of_the_twenty_bits_counts() -> None:
    text = printed(b"\x5a" * 20).replace("-", "")
    for position in range(32, 36):
        for bit in range(5):
            wrong = ALPHABET[ALPHABET.index(text[position]) ^ 1 << bit]
            with pytest.raises(BadRecoveryCode):
                parse_code(text[:position] + wrong + text[position + 1 :])


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "-" * 36,
        "0" * 35,
        "0000-0000-0000-0000-0000-0000-0000-0000-ERYR0",
        "0000-0000-0000-0000-0000-0000-0000-0000-9V1U",
        "0000_0000_0000_0000_0000_0000_0000_0000_ERYR",
        "00000000-0000-0000-0000-000000000000éERYR",
        "٠" * 36,
        " " * 300 + "0000-0000-0000-0000-0000-0000-0000-0000-ERYR",
        "\0" * 36,
    ],
)
def test_what_is_no_code(typed: str) -> None:
    with pytest.raises(BadRecoveryCode) as info:
        parse_code(typed)
    assert typed.strip() == "" or typed not in str(info.value)


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_nothing_typed_crashes_the_reader(typed: str | bytes) -> None:
    try:
        code = parse_code(typed)
    except BadRecoveryCode:
        return
    assert len(code) == 20


RIGHT = "0123-4567-89AB-CDEF-GHJK-MNPQ-RSTV-WXYZ-0000"


@pytest.mark.parametrize(
    ("typed", "wrong"),
    [
        (RIGHT, []),
        (RIGHT.lower().replace("-", " ").replace("0", "o").replace("1", "l"), []),
        (RIGHT.replace("CDEF", "CDFE"), [4]),
        (RIGHT.replace("0123", "0124").replace("WXYZ", "WXY?"), [1, 8]),
        (RIGHT[:-1], [9]),
        (RIGHT[:9], [3, 4, 5, 6, 7, 8, 9]),
        (RIGHT.replace("4567", "567"), [2, 3, 4, 5, 6, 7, 8, 9]),
        (RIGHT + "0", [10]),
        ("", list(range(1, 10))),
        (RIGHT + " " * 300, list(range(1, 10))),
        ("\xff" * 36, list(range(1, 10))),
    ],
)
def test_the_groups_that_differ_are_named(typed: str, wrong: list[int]) -> None:
    assert wrong_groups(RIGHT, typed.encode("latin-1")) == wrong


@given(st.binary(min_size=20, max_size=20), st.binary(max_size=50))
def test_no_wrong_group_means_the_same_code(code: bytes, typed: bytes) -> None:
    right = format_code(Secret.take(bytearray(code))).decode()
    assert wrong_groups(right, right.encode()) == []
    if not wrong_groups(right, typed):
        assert bytes(parse_code(typed).view) == code
