"""The daemon's log: one line an event, no secrets, bounded.

Lines go to a file descriptor that is also the daemon's standard error, so that the traceback of a bug is
found in the same place. What is logged is chosen by the caller: states, causes, names of errors; never a key,
code or PIN.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from phonevault.paths import private_dir

MAX_LOG_BYTES = 1 << 20


def open_log(path: Path) -> int:
    """Open a log for appending (mode 0600), putting a grown one aside as PATH.old.

    Returns:
        A file descriptor.

    Raises:
        SettingsError: Its directory is not private.
        OSError: It cannot be opened.
    """
    private_dir(path.parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    if os.fstat(descriptor).st_size <= MAX_LOG_BYTES:
        return descriptor
    os.close(descriptor)
    path.replace(path.with_name(path.name + ".old"))
    return os.open(path, flags, 0o600)


def log(message: str) -> None:
    """Write one line with the time to standard error; a log that cannot be written stops nothing."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    line = "".join(char if char.isprintable() else "?" for char in message)
    try:
        sys.stderr.write(f"{stamp} phonevault[{os.getpid()}]: {line}\n")
        sys.stderr.flush()
    except OSError:
        return
