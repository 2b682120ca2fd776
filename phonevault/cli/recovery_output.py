"""Giving a new recovery code to its user: into a new file, or once on the terminal, as text and as a QR code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from phonevault.cli.output import say
from phonevault.cli.secret_input import check_output_file, has_terminal, prompt_line, read_secret
from phonevault.durable import fsync_parent
from phonevault.errors import OutputFileError, SecretInputError


def check_can_be_given(recovery_file: str | None, option: str) -> None:
    """Refuse early: before a phone is asked or anything is written.

    Raises:
        OutputFileError: the file exists.
        SecretInputError: no file was given and standard output is no terminal.
    """
    if recovery_file is not None:
        check_output_file(Path(recovery_file))
    elif not (sys.stdout.isatty() and has_terminal()):
        raise SecretInputError(
            "the recovery code can only be shown on a terminal, and is to be typed back there",
            f"give a file for it: {option} OUT",
        )


@contextlib.contextmanager
def code_file(recovery_file: str | None) -> Iterator[int | None]:
    """Make the file for the code before anything else; on failure it goes again.

    Raises:
        OutputFileError: it cannot be made.
    """
    if recovery_file is None:
        yield None
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(recovery_file, flags, 0o600)
    except OSError as error:
        raise OutputFileError(f"cannot make {recovery_file}: {error.strerror}") from error
    try:
        fsync_parent(Path(recovery_file))  # the entry; `give_code` does the same for what is in it
        yield descriptor
    except BaseException:
        os.unlink(recovery_file)
        raise
    finally:
        os.close(descriptor)


def give_code(recovery_code: str, descriptor: int | None) -> None:
    """Write the code to the open file, or show it. The caller wipes `recovery_code`."""
    code = bytearray(recovery_code, "ascii")
    try:
        if descriptor is None:
            _show(code, recovery_code)
        else:
            _write(code, descriptor)
    finally:
        code[:] = bytes(len(code))


def code_back(recovery_code: str, recovery_file: str | None) -> bytearray:
    """Return the code as its user has it: read from the file again, or typed on the terminal until it is right.

    Args:
        recovery_code: as given; the caller wipes it.
        recovery_file: where it was written; None if it was shown.

    Returns:
        What was read or typed, for the caller to wipe.

    Raises:
        OutputFileError: the file holds something else than was written.
        SecretInputError: nothing was typed.
    """
    from keyslots.recovery_code import wrong_groups

    if recovery_file is not None:
        try:
            code = read_secret(recovery_file, "recovery code")
        except SecretInputError as error:
            raise OutputFileError(f"{recovery_file} does not hold the recovery code: {error}") from error
        if wrong_groups(recovery_code, code):
            code[:] = bytes(len(code))
            raise OutputFileError(f"{recovery_file} does not hold the recovery code that was written to it")
        return code
    say("Type it back from what you wrote down. Ctrl-C undoes everything.")
    while True:
        code = prompt_line("Recovery code: ")
        wrong = wrong_groups(recovery_code, code)
        if not wrong:
            return code
        code[:] = bytes(len(code))
        say(f"That is not it: look at group {', '.join(map(str, wrong))}.")


def _write(code: bytearray, descriptor: int) -> None:
    try:
        os.fchmod(descriptor, 0o600)
        if os.writev(descriptor, [code, b"\n"]) != len(code) + 1:
            raise OutputFileError("the recovery code could not be written whole")
        os.fsync(descriptor)
    except OSError as error:
        raise OutputFileError(f"the recovery code could not be written: {error.strerror}") from error


def _show(code: bytearray, text: str) -> None:
    import segno

    say("\nThe recovery code opens the vault without the phone.")
    say("It is shown only now: write it down, or photograph it with nothing that uploads.\n")
    sys.stdout.write("    ")
    sys.stdout.flush()
    os.writev(sys.stdout.fileno(), [code, b"\n\n"])
    segno.make_qr(text, error="m").terminal(sys.stdout, compact=True, border=2)
    say("")
