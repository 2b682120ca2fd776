"""Where the user's files are: the XDG base directories, and a private directory for sockets.

The XDG Base Directory Specification, version 0.8: a variable that is unset, empty or relative counts as
unset.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from phonevault.errors import SettingsError

APPLICATION = "phonevault"


def _base(variable: str, default: Path) -> Path:
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else default


def config_dir() -> Path:
    """Identity of this computer and the paired phones. Not created here."""
    return _base("XDG_CONFIG_HOME", Path.home() / ".config") / APPLICATION


def state_dir() -> Path:
    """Logs and the transports' own state. Not created here."""
    return _base("XDG_STATE_HOME", Path.home() / ".local/state") / APPLICATION


def identity_file() -> Path:
    """This computer's static key."""
    return config_dir() / "identity"


def phones_dir() -> Path:
    """The paired phones, one file each."""
    return config_dir() / "phones"


def bluetooth_dir() -> Path:
    """Link keys of the transports that keep their own."""
    return state_dir() / "bluetooth"


def log_dir() -> Path:
    """The daemons' logs."""
    return state_dir() / "log"


def runtime_path() -> Path:
    """Where `runtime_dir` is. Not created here.

    XDG_RUNTIME_DIR/phonevault; without that variable /run/user/UID/phonevault if the system keeps such a
    directory for this user, else /tmp/phonevault-UID.
    """
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    uid = os.getuid()
    if base.startswith("/"):
        return Path(base) / APPLICATION
    login = Path(f"/run/user/{uid}")
    if _is_private(login):
        return login / APPLICATION
    return Path(f"/tmp/{APPLICATION}-{uid}")  # noqa: S108 - checked for its owner and mode before it is used


def runtime_dir() -> Path:
    """The directory of the control sockets (`runtime_path`), created private if it is missing.

    Raises:
        SettingsError: It exists but is no directory, is another user's, or is open to others.
    """
    return private_dir(runtime_path())


def private_dir(path: Path) -> Path:
    """Make a directory with mode 0700, parents included, or check the one that is there.

    Raises:
        SettingsError: It cannot be made, is no directory (a symbolic link counts as none), or is not private.
    """
    try:
        _make_private(path)
    except OSError as error:
        raise SettingsError(f"cannot make the directory {path}: {error.strerror}") from error
    if not _is_private(path):
        raise SettingsError(
            f"{path} is not a private directory of yours", f"remove it, or: chmod 700 {path} if it is yours"
        )
    return path


def _make_private(path: Path) -> None:
    """Make a directory and its missing parents with mode 0700, whatever the umask is (a FUSE server's is 0)."""
    if not path.parent.exists():
        _make_private(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)


def mount_id(mountpoint: str) -> str:
    """A short name for a mount, made from its canonical path: names its socket and its log file."""
    import hashlib

    return hashlib.sha256(os.fsencode(mountpoint)).hexdigest()[:16]


def control_socket_name(mountpoint: str) -> str:
    """The socket's file name in `runtime_dir` for a canonical mount point."""
    return mount_id(mountpoint) + ".sock"


def _is_private(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def put_private(file: Path, data: bytes) -> None:
    """Put a file of ours (mode 0600) in place in one step. No fsync: a crash loses at most what is new in it.

    Raises:
        OSError: It cannot be written; what was there before is there.
    """
    temporary = file.with_name(f".{os.urandom(8).hex()}.tmp")
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        try:
            if os.write(descriptor, data) != len(data):
                raise OSError("short write")
        finally:
            os.close(descriptor)
        os.replace(temporary, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
