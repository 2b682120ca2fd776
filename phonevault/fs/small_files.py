"""Small files of ours in the ciphertext directory (directory ids, sidecars): read with suspicion, written whole and durably."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from phonevault.fs.access import mode_changes
from phonevault.fs.errors import Damaged
from phonevault.fs.format import names
from phonevault.fs.syscalls import NO_SUCH_FLAG, RENAME_NOREPLACE, rename

_LIMIT_BYTES = 512


def temporary_name() -> str:
    """A name for an object on its way in (docs/format.md 2)."""
    return names.TEMPORARY_PREFIX + secrets.token_hex(8)


def exists(name: str, directory_fd: int) -> bool:
    """Whether there is an object of that name, a dangling link included."""
    try:
        os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def open_small(name: str, directory_fd: int) -> int:
    """A descriptor of a regular file; never through a link, never blocking on a fifo.

    Raises:
        Damaged: it is no regular file.
        OSError: ENOENT, EIO, … of the backing store.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        try:
            fd = os.open(name, flags, dir_fd=directory_fd)
        except PermissionError:
            # A directory that may be listed but not entered.
            with opened_up(directory_fd):
                fd = os.open(name, flags, dir_fd=directory_fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise Damaged(f"{name} is not a regular file") from None
        raise
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise Damaged(f"{name} is not a regular file")


def read_small(name: str, directory_fd: int) -> bytes:
    """A small regular file's bytes.

    Raises:
        Damaged: it is no regular file, or too long.
        OSError: as :func:`open_small`.
    """
    fd = open_small(name, directory_fd)
    try:
        raw = os.read(fd, _LIMIT_BYTES + 1)
    finally:
        os.close(fd)
    if len(raw) > _LIMIT_BYTES:
        raise Damaged(f"{name} is too long")
    return raw


def write_new(name: str, raw: bytes, directory_fd: int, *, like: os.stat_result | None = None) -> None:
    """Write a file that is not there yet, and fsync it. On failure it is gone again.

    With ``like`` it belongs to whom that belongs to: what root makes in somebody's vault, who may mount it next time.

    Raises:
        OSError: EEXIST, ENOSPC, … of the backing store.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=directory_fd)
    try:
        if os.write(fd, raw) != len(raw):
            raise OSError(errno.ENOSPC, "written in part only")
        if like is not None and _is_for_another(like):
            os.fchown(fd, like.st_uid, like.st_gid)
        os.fsync(fd)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=directory_fd)
        raise
    finally:
        os.close(fd)


def put_durably(
    name: str, raw: bytes, directory_fd: int, *, replace: bool, like: os.stat_result | None = None
) -> None:
    """Put a file in place whole: its name leads to all of it or to what was there before. Durable, the directory's entry included.

    With ``like`` it belongs to whom that belongs to, from its first moment in place.

    Raises:
        FileExistsError: without ``replace``, if it is there.
        OSError: of the backing store; nothing has changed.
    """
    temporary = temporary_name()
    write_new(temporary, raw, directory_fd, like=like)
    try:
        if replace:
            os.rename(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
        else:
            os.link(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory_fd)
    sync_directory(directory_fd)


def make_directory(name: str, directory_fd: int) -> None:
    """Make a directory of ours that is not there yet, durably. It belongs to whom the one above belongs to, from its first moment in place.

    Raises:
        FileExistsError: there is something of that name.
        OSError: of the backing store; nothing has changed.
    """
    owner = os.fstat(directory_fd)
    temporary = temporary_name()
    os.mkdir(temporary, 0o700, dir_fd=directory_fd)
    try:
        if _is_for_another(owner):
            os.chown(temporary, owner.st_uid, owner.st_gid, dir_fd=directory_fd, follow_symlinks=False)
        place_directory(directory_fd, temporary, name)
    except OSError:
        with contextlib.suppress(OSError):
            os.rmdir(temporary, dir_fd=directory_fd)
        raise
    sync_directory(directory_fd)


def rename_to_free(source_fd: int, source: str, target_fd: int, target: str) -> None:
    """Rename to a name that must be free.

    Raises:
        FileExistsError: it is not.
        OSError: as rename(2).
    """
    try:
        rename(source_fd, source, target_fd, target, RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in NO_SUCH_FLAG:
            raise
        if exists(target, target_fd):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)


def place_directory(directory_fd: int, temporary: str, name: str) -> None:
    """Give a directory its name, over nothing.

    Where the backing store knows no RENAME_NOREPLACE it replaces an empty directory: those of a tree have an id file in them, and who has
    opened another one finds nothing in it that is lost.

    Raises:
        FileExistsError: there is something of that name.
        OSError: of the backing store.
    """
    try:
        rename(directory_fd, temporary, directory_fd, name, RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in NO_SUCH_FLAG:
            raise
        try:
            os.rename(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
        except OSError as refused:
            if refused.errno in (errno.ENOTDIR, errno.ENOTEMPTY):
                raise FileExistsError(errno.EEXIST, "there is something of that name") from None
            raise


def for_reading(directory_fd: int) -> int:
    """A new descriptor of a directory, to list or to sync it; the caller closes it.

    Raises:
        OSError: EACCES, the directory may not be read.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return os.open(".", flags, dir_fd=directory_fd)
    except PermissionError:
        # The way over a name asks for the right to enter it, too.
        return os.open(f"/proc/self/fd/{directory_fd}", flags)


@contextmanager
def opened_up(directory_fd: int) -> Iterator[None]:
    """A directory that an ordinary user has closed to himself is open to us in the body: the kernel checks rights, we read our own files.

    Nothing is done for root, nor where the mode lets us in.

    Raises:
        OSError: what the body raises.
    """
    if os.geteuid() == 0 or _mode(directory_fd) & stat.S_IRWXU == stat.S_IRWXU:
        yield
        return
    path = f"/proc/self/fd/{directory_fd}"
    with mode_changes:
        mode = _mode(directory_fd)
        with contextlib.suppress(PermissionError):
            os.chmod(path, mode | stat.S_IRWXU)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.chmod(path, mode)


def _is_for_another(like: os.stat_result) -> bool:
    """Whether we are root, and what belongs to whom that belongs to does not belong to us."""
    return os.geteuid() == 0 and (like.st_uid, like.st_gid) != (0, 0)


def _mode(fd: int) -> int:
    return stat.S_IMODE(os.fstat(fd).st_mode)


def sync_directory(directory_fd: int) -> None:
    """Make a directory's entries durable; one that its owner may not read is left to the backing store's own order.

    Raises:
        OSError: EIO of the backing store.
    """
    try:
        fd = for_reading(directory_fd)
    except PermissionError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
