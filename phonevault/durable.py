"""Making a new file's name durable: fsync(2) of a file does not cover the entry in its directory."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

_CANNOT = (errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP)
"""A directory that may be written but not read, and file systems whose directories have no fsync."""


def fsync_directory(path: Path) -> None:
    """Make a directory's entries durable.

    Raises:
        OSError: It cannot be opened, or its entries cannot be written.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_parent(file: Path) -> None:
    """Make the entry of a file durable that the user named, as far as its directory allows.

    Raises:
        OSError: The entry could not be written (I/O error, disk full).
    """
    try:
        fsync_directory(file.parent)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise _named(error, file) from error


def write_new(file: Path, data: bytes) -> None:
    """Write a new file (mode 0600), durably. On failure nothing of it stays.

    Raises:
        FileExistsError: There is one.
        OSError: It cannot be written.
    """
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as target:
            target.write(data)
            target.flush()
            os.fsync(target.fileno())
        fsync_parent(file)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(file)
        if isinstance(error, OSError):
            raise _named(error, file) from error
        raise


def _named(error: OSError, file: Path) -> OSError:
    """The same error with the file's name, which write(2) and fsync(2) do not know."""
    return OSError(error.errno, error.strerror, str(file))
