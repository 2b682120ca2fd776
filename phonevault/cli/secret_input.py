"""Secrets from files, standard input or the terminal; never from the command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from phonevault.errors import SecretInputError

MAX_SECRET_BYTES = 1024
STANDARD_INPUT = "-"


def read_secret(source: str, what: str) -> bytearray:
    """Read a secret from a file; `-` is standard input, which asks if it is a terminal.

    One line feed (or carriage return and line feed) at the end does not count.

    Args:
        source: Path, or `-`.
        what: Names the secret in errors and in the prompt.

    Returns:
        The bytes, for the caller to wipe.

    Raises:
        SecretInputError: Unreadable, empty or over 1024 bytes.
    """
    if source == STANDARD_INPUT:
        if sys.stdin.isatty():
            return prompt_secret(what)
        return _read(sys.stdin.fileno(), what, "standard input")
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SecretInputError(f"cannot read the {what} from {source}: {error.strerror}") from error
    try:
        return _read(descriptor, what, source)
    finally:
        os.close(descriptor)


def prompt_secret(what: str, *, repeat: bool = False) -> bytearray:
    """Ask for a secret on the terminal, without echo.

    Args:
        what: Names the secret.
        repeat: Ask twice and compare: for a new secret.

    Raises:
        SecretInputError: There is no terminal, nothing was typed, or the two differ.
    """
    if not has_terminal():
        raise SecretInputError(f"the {what} cannot be asked for: there is no terminal", "give it in a file")
    secret = _ask(f"{what[0].upper()}{what[1:]}: ")
    if not secret:
        raise SecretInputError(f"no {what} was typed")
    if repeat:
        try:
            again = _ask("Once more: ")
        except BaseException:
            secret[:] = bytes(len(secret))
            raise
        same = again == secret
        again[:] = bytes(len(again))
        if not same:
            secret[:] = bytes(len(secret))
            raise SecretInputError("the two differ", "nothing was changed; try again")
    return secret


def prompt_line(prompt: str) -> bytearray:
    """Ask for a line on the terminal, which shows what is typed; the caller wipes it.

    Raises:
        SecretInputError: There is no terminal, or its user ended the input.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        raise SecretInputError("there is no terminal to type at") from None
    line = bytearray(4096)  # the longest line that a terminal gives
    try:
        os.write(terminal, prompt.encode())
        count = os.readv(terminal, [line])
        if count == 0:
            raise SecretInputError("nothing was typed")
        return line[:count].rstrip(b"\r\n")
    finally:
        line[:] = bytes(len(line))
        os.close(terminal)


def has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def check_output_file(path: Path) -> None:
    """Refuse early what `O_EXCL` would refuse later."""
    from phonevault.errors import OutputFileError

    if os.path.lexists(path):
        raise OutputFileError(f"{path} exists already", "give a path that does not exist")


def _ask(prompt: str) -> bytearray:
    import getpass

    from keyslots.memory import wipe_str

    try:
        text = getpass.getpass(prompt)
    except EOFError:
        raise SecretInputError("nothing was typed") from None
    secret = bytearray(text, "utf-8", "surrogateescape")
    wipe_str(text)
    return secret


def _read(descriptor: int, what: str, where: str) -> bytearray:
    buffer = bytearray(MAX_SECRET_BYTES + 3)
    filled = 0
    try:
        while filled < len(buffer):
            count = os.readv(descriptor, [memoryview(buffer)[filled:]])
            if count == 0:
                break
            filled += count
    except OSError as error:
        raise SecretInputError(f"cannot read the {what} from {where}: {error.strerror}") from error
    end = filled
    if buffer[:end].endswith(b"\n"):
        end -= 2 if buffer[:end].endswith(b"\r\n") else 1
    secret = buffer[:end]
    buffer[:] = bytes(len(buffer))
    if not secret:
        raise SecretInputError(f"the {what} in {where} is empty")
    if end > MAX_SECRET_BYTES:
        secret[:] = bytes(len(secret))
        raise SecretInputError(f"the {what} in {where} is longer than {MAX_SECRET_BYTES} bytes")
    return secret
