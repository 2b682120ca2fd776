"""`phonevault phone pair|list|ping|forget`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from phonevault.cli import bluetooth, phones
from phonevault.cli.output import printable, say, show_json, show_table
from phonevault.cli.secret_input import has_terminal

if TYPE_CHECKING:
    from phone_link.transport.base import Stream


@click.group()
def phone() -> None:
    """Pair, list, ping and forget phones."""


@phone.command()
@click.argument("spec")
@click.option("--name", metavar="NAME", help="What to call the phone; its own name if left out.")
@click.option("--yes", is_flag=True, help="Do not ask whether the six digits are the same (for scripts).")
def pair(spec: str, name: str | None, yes: bool) -> None:
    """Pair with the phone at SPEC.

    Both screens show six digits; say yes only if they are the same. SPEC says how the phone is reached:
    bluetooth: (searches for phones), bluetooth:AA:BB:CC:DD:EE:FF, serial:/dev/ttyACM0?baud=115200,
    tcp:HOST:PORT, unix:PATH, pty:PATH, bumble:HCI/ADDRESS. By Bluetooth there are two comparisons:
    Bluetooth's own, then phonevault's.
    """
    from phone_link.errors import PairingMismatch, PairingRefused
    from phone_link.host.pair import pair as pair_with

    book = phones.phone_book()
    book.list()  # a damaged book is found before the phone's user is bothered
    known_as = phones.identity()
    if spec == bluetooth.SCHEME:
        from phonevault.cli.bluetooth_scan import choose

        spec += choose(yes=yes)
    stream = _connect(spec, yes)
    answers: list[bool] = []

    def confirm(code: str) -> bool:
        answers.append(_confirm(code, yes))
        return answers[-1]

    try:
        paired = pair_with(stream, known_as, _computer_name(), spec, confirm, name)
    except PairingRefused:
        if answers == [False]:
            raise PairingMismatch("not paired: the digits were not said to be the same") from None
        raise
    book.add(paired)
    say(f"paired with {printable(paired.name)}, key {paired.fingerprint[:16]}…")


def _connect(spec: str, yes: bool) -> Stream:
    if spec.startswith(bluetooth.SCHEME):
        return bluetooth.connect(spec, lambda question: _ask_same(question, yes))
    from phone_link.transport.open import connect

    return connect(spec, phones.CONNECT_TIMEOUT_S, phones.transport_options(pairing=True))


def _confirm(code: str, yes: bool) -> bool:
    say(f"the phone must show: {code[:3]} {code[3:]}")
    return _ask_same("Does it show the same?", yes)


def _ask_same(question: str, yes: bool) -> bool:
    if yes:
        return True
    if not has_terminal() and not sys.stdin.isatty():
        from phonevault.errors import SecretInputError

        raise SecretInputError(
            "the digits cannot be compared: there is no terminal to answer on", "pair on a terminal"
        )
    return click.confirm(question, default=False)


def _computer_name() -> str:
    import socket

    name = "".join(char for char in socket.gethostname() if char.isprintable())[:64]
    return name or "computer"


@phone.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_phones(as_json: bool) -> None:
    """List the paired phones."""
    paired = phones.phone_book().list()
    if as_json:
        members = ("name", "spec", "fingerprint", "paired")
        show_json([{member: getattr(one, member) for member in members} for one in paired])
    elif paired:
        rows = [(one.name, one.spec, one.fingerprint[:16], one.paired) for one in paired]
        show_table(("name", "reached by", "key", "paired"), rows)
    elif sys.stdout.isatty():
        say("no phone is paired")


@phone.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def ping(name: str | None, as_json: bool) -> None:
    """Ask a phone for a sign of life inside the secure channel."""
    paired = phones.phone_book().get(name)
    began_s = time.monotonic()
    session = phones.connector(paired)(phones.CONNECT_TIMEOUT_S)
    try:
        connected_s = time.monotonic() - began_s
        session.ping(phones.CONNECT_TIMEOUT_S)
        answered_s = time.monotonic() - began_s - connected_s
        about = session.info()
    finally:
        session.close()
    connect_ms, answer_ms = round(connected_s * 1000, 1), round(answered_s * 1000, 1)
    if as_json:
        show_json(
            {
                "name": paired.name,
                "connect_ms": connect_ms,
                "answer_ms": answer_ms,
                "model": about.model,
                "version": about.version,
                "pin_locked": about.pin_locked,
                "pin_tries_left": about.pin_tries_left,
            }
        )
        return
    say(f"{printable(paired.name)}: connected in {connect_ms} ms, answered in {answer_ms} ms")
    say(f"{printable(about.manufacturer)} {printable(about.model)}, version {printable(about.version)}")
    if about.pin_locked:
        say("its PIN is blocked")


@phone.command()
@click.argument("name")
def forget(name: str) -> None:
    """Forget a phone: this computer will not talk to it any more. Vaults keep their slots."""
    phones.phone_book().forget(name)
    say(f"forgot {printable(name)}")
