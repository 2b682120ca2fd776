"""PINs and PUKs from a file or a terminal, as bytearrays; never from the command line."""

from __future__ import annotations

import os
import sys
import termios
from pathlib import Path

from phone_link.phone.errors import PinUnusable
from phone_link.phone.pin import check_new_pin
from phone_link.wipe import wipe

MAX_SECRET_BYTES = 256


def secret_from_file(path: Path) -> bytearray:
    """Return the file's only line without its end; `PinUnusable` if it cannot be read or is longer."""
    buffer = bytearray(MAX_SECRET_BYTES + 1)
    try:
        with open(path, "rb", buffering=0) as file:
            length = _fill(file.fileno(), buffer)
    except OSError as error:
        raise PinUnusable(f"cannot read {path}: {error.strerror}", hint="") from None
    secret = _without_line_end(buffer[:length])
    wipe(buffer)
    if length > MAX_SECRET_BYTES or b"\n" in secret:
        wipe(secret)
        raise PinUnusable(f"{path} holds more than one short line", hint="")
    return secret


def _fill(descriptor: int, buffer: bytearray) -> int:
    length = 0
    with memoryview(buffer) as view:
        while length < len(buffer):
            count = os.readv(descriptor, [view[length:]])
            if count == 0:
                break
            length += count
    return length


def _without_line_end(secret: bytearray) -> bytearray:
    end = len(secret)
    if secret.endswith(b"\n"):
        end -= 2 if secret.endswith(b"\r\n") else 1
    stripped = secret[:end]
    wipe(secret)
    return stripped


def on_terminal() -> bool:
    """Return True if standard input is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def secret_from_terminal(prompt: str) -> bytearray:
    """Ask on the terminal without echo and return what was typed; empty at end of file."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    silent = before.copy()
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSAFLUSH, silent)
    try:
        sys.stderr.write(prompt)
        sys.stderr.flush()
        typed = bytearray(MAX_SECRET_BYTES)
        count = os.readv(descriptor, [typed])
        secret = _without_line_end(typed[:count])
        wipe(typed)
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)
        sys.stderr.write("\n")
        sys.stderr.flush()
    return secret


def secret(path: Path | None, prompt: str) -> bytearray:
    """Return a secret from the file, or from the terminal; `PinUnusable` if there is neither."""
    if path is not None:
        return secret_from_file(path)
    if not on_terminal():
        raise PinUnusable("no PIN was given", hint="use --pin-file, or run this on a terminal")
    return secret_from_terminal(prompt)


def new_pin(path: Path | None) -> bytearray:
    """Return a new PIN from the file, or typed twice; `PinUnusable` if it is none, or the two differ."""
    first = secret(path, "new PIN (4 to 16 characters): ")
    if path is None:
        check_new_pin(first)  # before it is asked for again
        second = secret_from_terminal("new PIN, again: ")
        same = first == second
        wipe(second)
        if not same:
            wipe(first)
            raise PinUnusable("the two PINs differ", hint="nothing was changed; try again")
    return first
