"""Small private files, replaced atomically."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from phone_link.errors import LinkError

MAX_FILE_BYTES = 1 << 20


def read_private(path: Path) -> bytes | None:
    """Return the bytes of a file of ours, None if there is none.

    Raises:
        LinkError: it belongs to somebody else, others may read or change it, or it is over 1 MiB.
    """
    try:
        fd = os.open(
            path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        )  # no waiting for a FIFO
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LinkError(f"cannot read {path} ({error.strerror})") from None
    with open(fd, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise LinkError(f"{path} is open to other users", hint=f"chmod 600 {path}")
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise LinkError(f"{path} is too large")
    return data


def replace_private(path: Path, data: bytes, *, new_only: bool = False) -> bool:
    """Write a file (mode 0600) so that it is there whole or not at all, and durable.

    Args:
        path: its directory is made (0700) if missing.
        data: the new content.
        new_only: leave an existing file alone.

    Returns:
        False if `new_only` and the file exists.

    Raises:
        LinkError: the directory cannot be written.
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if new_only:
            os.link(temporary, path)
        else:
            os.rename(temporary, path)
        _sync_directory(path.parent)
    except FileExistsError:
        return False
    except OSError as error:
        raise LinkError(f"cannot write {path} ({error.strerror})") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    return True


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
