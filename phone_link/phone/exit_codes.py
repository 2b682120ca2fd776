"""The exit codes of `phonevault-phone`: stable, one table. Click's own usage errors are 2 as well."""

from __future__ import annotations

from phone_link.errors import LinkError, PinIncorrect, PinLocked, SpecError
from phone_link.phone import errors

OTHER_FAILURE = 1
INTERRUPTED = 130

EXIT_CODES: tuple[tuple[type[LinkError] | tuple[type[LinkError], ...], int, str], ...] = (
    (SpecError, 2, "usage: a malformed option, argument or SPEC"),
    (errors.StoreMissing, 3, "there is no store at STORE"),
    (errors.StoreExists, 4, "STORE (or the file for the PUK) exists already"),
    ((errors.StoreDamaged, errors.StoreTooNew), 5, "the store is damaged or made by a newer version"),
    (PinIncorrect, 6, "wrong PIN or PUK; the try was counted"),
    (PinLocked, 7, "the PIN or PUK is blocked"),
    (errors.PinUnusable, 8, "no PIN was given, or it is not acceptable"),
    (errors.AgentNotRunning, 9, "no agent serves the store"),
    (errors.AgentRunning, 10, "another agent serves the store"),
    (errors.CannotListen, 11, "the agent cannot listen at SPEC"),
    (errors.UnknownComputer, 12, "no paired computer has that name"),
    (errors.StoreUnsafe, 13, "other users can read the store"),
    (errors.UnknownVault, 14, "no vault with that id is remembered"),
)
"""First match counts. Everything else that goes wrong is 1; an interrupt from the keyboard 130."""


def exit_code(error: Exception) -> int:
    """Return the exit code for an error."""
    return next((code for kind, code, _ in EXIT_CODES if isinstance(error, kind)), OTHER_FAILURE)


def describe() -> str:
    """Return the table for the help text."""
    lines = ["\b", "Exit codes:", "  0  done", "  1  another failure"]
    lines += [f"{code:3}  {meaning}" for _, code, meaning in EXIT_CODES]
    return "\n".join([*lines, f"{INTERRUPTED:3}  interrupted"])
