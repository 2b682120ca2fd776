"""The computer's side of `*PANCH`: what it sends, what it makes of the answers, and a phone without the command."""

import pytest

from phone_link.at.types import CmeError, Response
from phone_link.errors import HeaderForked, HeaderRolledBack, PhoneError, ProtocolError, VaultSubstituted
from phone_link.host.anchor import HeaderWitness, Seen

VAULT, MAC, TAG = bytes(range(16)), b"\xab" * 32, b"\xcd" * 32
HEADER = f'"{VAULT.hex().upper()}",7,"{MAC.hex().upper()}"'


class Answers:
    """A commander that gives the answers of a test, and keeps what was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def command(self, line, timeout_s):
        self.asked.append(line)
        return self.answers.pop(0)


def lines(*found):
    return Response(found)


def failure(ckr, cme=3):
    return Response((f"*PERR: {ckr}",), CmeError(cme))


def show(*answers):
    return HeaderWitness(Answers(*answers)).show(VAULT, 7, MAC, 5)


def remember(*answers):
    return HeaderWitness(Answers(*answers)).remember(VAULT, 7, MAC, TAG)


def test_what_is_sent():
    asked = Answers(lines("*PANCH: 1"), lines())
    witness = HeaderWitness(asked)
    assert witness.show(VAULT, 7, MAC, 5) is Seen.NEWER
    assert witness.remember(VAULT, 7, MAC, TAG)
    assert asked.asked == [f"*PANCH=1,{HEADER}", f'*PANCH=2,{HEADER},"{TAG.hex().upper()}"']


@pytest.mark.parametrize(("number", "seen"), [(0, Seen.UNKNOWN), (1, Seen.NEWER), (2, Seen.KNOWN)])
def test_what_the_phone_says(number, seen):
    assert show(lines(f"*PANCH: {number}")) is seen


@pytest.mark.parametrize(
    "answer",
    [
        lines(),
        lines("*PANCH: 3"),
        lines("*PANCH: -1"),
        lines("*PANCH: 1,1"),
        lines("*PANCH: "),
        lines('*PANCH: "1"'),
        lines("*PANCH: 1", "*PANCH: 1"),
        Response((), CmeError(3)),
    ],
)
def test_anything_else_is_malformed(answer):
    with pytest.raises(ProtocolError):
        show(answer)


@pytest.mark.parametrize(
    ("ckr", "error"),
    [("80000003", HeaderRolledBack), ("80000004", HeaderForked), ("80000005", VaultSubstituted)],
)
def test_refusals(ckr, error):
    for ask in (show, remember):
        with pytest.raises(error):
            ask(failure(ckr))


def test_a_phone_without_the_command_is_asked_once():
    asked = Answers(failure("54", 4))
    witness = HeaderWitness(asked)
    assert witness.show(VAULT, 7, MAC, 5) is Seen.UNSUPPORTED
    assert not witness.remember(VAULT, 7, MAC, TAG)
    assert witness.show(VAULT, 7, MAC, 5) is Seen.UNSUPPORTED
    assert len(asked.asked) == 1


def test_a_phone_without_room_and_one_whose_store_fails():
    assert not remember(failure("31", 20))
    for ask in (show, remember):
        with pytest.raises(PhoneError):
            ask(failure("30", 13))
