"""A new passphrase: typed twice or read from a file, with an estimate of how hard it is to guess."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from phonevault.cli.output import warn
from phonevault.cli.secret_input import STANDARD_INPUT, has_terminal, prompt_secret, read_secret
from phonevault.errors import SecretInputError

if TYPE_CHECKING:
    from keyslots.header import Header
    from keyslots.slots.passphrase import Cost

STRONG_ENOUGH = 3
"""Of zxcvbn's 0 … 4: 10^8 guesses, years of Argon2id at a second each."""

_ESTIMATED_CHARACTERS = 72
"""What zxcvbn looks at; more only makes a passphrase stronger."""


def ask_new_passphrase(source: str | None) -> bytearray:
    """Return a new passphrase for the caller to wipe; a weak one is told, and asked about on a terminal.

    Args:
        source: a file, `-` for standard input, or None. None, and `-` on a terminal, ask twice.

    Raises:
        SecretInputError: unreadable, empty, the two differ, or it was not taken after the question.
    """
    typed = source is None or (source == STANDARD_INPUT and sys.stdin.isatty())
    secret = (
        prompt_secret("new passphrase", repeat=True)
        if source is None or typed
        else read_secret(source, "passphrase")
    )
    try:
        _ask_if_weak(secret, typed=typed)
    except BaseException:
        secret[:] = bytes(len(secret))
        raise
    return secret


def cost_here(header: Header | None = None, replaced: int | None = None) -> Cost:
    """Return what a new passphrase is to cost on this computer (`phonevault.kdf_cost.new_cost`)."""
    from phonevault import kdf_cost

    return kdf_cost.new_cost(header, replaced)


def _ask_if_weak(secret: bytearray, *, typed: bool) -> None:
    why = weakness(secret)
    if why is None:
        return
    warn(f"this passphrase is easy to guess: {why}")
    if typed and has_terminal() and not click.confirm("Take it all the same?", default=False, err=True):
        raise SecretInputError("no passphrase was set", "four or more random words make a good one")


def weakness(passphrase: bytearray) -> str | None:
    """Say why a passphrase is weak, or None if it is strong enough.

    The estimator takes a `str`, parts of which stay in this process's memory until it ends (docs/threat-model.md 5).
    """
    from zxcvbn import zxcvbn

    text = passphrase.decode("utf-8", "replace")[:_ESTIMATED_CHARACTERS]
    found = zxcvbn(text, max_length=_ESTIMATED_CHARACTERS)
    if found["score"] >= STRONG_ENOUGH:
        return None
    reason = found["feedback"]["warning"].rstrip(".") or "too few guesses find it"
    return f"{reason[0].lower()}{reason[1:]} (about 10^{found['guesses_log10']:.0f} guesses)"
