"""The phone: making it, letting it serve, pairing it with the computer."""

from __future__ import annotations

import secrets
from typing import Protocol

from demo_steps.programs import Program
from demo_steps.world import World

SIX_DIGITS = r"(?<![\w-])(\d{3}) ?(\d{3})(?!\w)"
QUESTION = r"\[y/N\]"
NAME = "pocket"


class Link(Protocol):
    """How the two ends name what lies between them."""

    @property
    def listen_spec(self) -> str:
        """The phone's."""

    @property
    def connect_spec(self) -> str:
        """The computer's."""


def make(world: World, bits: int = 3072) -> None:
    """A phone with a PIN and an RSA key that never leaves it."""
    world.pin_file.touch(mode=0o600)
    world.pin_file.write_text(f"{secrets.randbelow(10**6):06}\n")
    world.run(
        "phonevault-phone", "init", world.phone_store, "--pin-file", world.pin_file, "--bits", bits
    ).must_succeed()
    loose = [path.name for path in world.phone_store.rglob("*") if path.stat().st_mode & 0o077]
    world.report.check(not loose, "nobody else may read the phone's store", ", ".join(loose))


def serve(world: World, link: Link, *options: str) -> Program:
    """The phone's program, listening; it unlocks without asking each time."""
    program = world.start(
        "the phone",
        *("phonevault-phone", "serve", world.phone_store, "--listen", link.listen_spec),
        *("--pin-file", world.pin_file, "--approve", "auto", *options),
    )
    program.wait_for(r"ready: ")
    return program


def pair(world: World, phone: Program, link: Link) -> None:
    """Both sides show six digits; only because they are equal does the demo say yes, on both."""
    computer = world.start("the computer", "phonevault", "phone", "pair", link.connect_spec, "--name", NAME)
    here = "".join(computer.wait_for(SIX_DIGITS, 30).groups())
    there = "".join(phone.wait_for(SIX_DIGITS, 30).groups())
    for screen in (computer, phone):
        screen.wait_for(QUESTION)  # an answer typed before the question does not count
    world.report.show(f"the phone shows     {there}\nthe computer shows  {here}")
    world.report.check(here == there, "both show the same six digits, so nobody sits between them")
    phone.answer("y")
    computer.answer("y")
    code = computer.wait(60)
    world.report.check(code == 0, "computer and phone know each other now", computer.screen)
    listed = world.run("phonevault", "phone", "list").must_succeed().output
    world.report.show(listed)
    world.report.check(NAME in listed, "the computer lists the phone")
