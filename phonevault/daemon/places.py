"""Checks of vault and mount point before a phone is bothered."""

from __future__ import annotations

import os
from pathlib import Path

from phonevault.daemon.mounts import canonical_mountpoint, is_dead, phonevault_mounts
from phonevault.errors import CipherUnsupported, MountpointTaken, MountpointUnusable

CIPHERS = ("aes-256-gcm", "aes-256-xts")
"""What `phonevault.fs` can do."""


def canonical_vault(path: str) -> Path:
    """Return a vault's absolute path, symbolic links resolved; whether it is a vault is found out later."""
    return Path(os.path.realpath(path))


def check_cipher(cipher: str) -> None:
    """Refuse a cipher that the file system does not have yet.

    Raises:
        CipherUnsupported: As said.
    """
    if cipher not in CIPHERS:
        raise CipherUnsupported(f"this version cannot use {cipher} yet")


def prepare_mountpoint(path: str, vault: Path) -> tuple[Path, bool]:
    """Return the canonical mount point, ready to be mounted on.

    A dead phonevault mount of this user in its place (its daemon was killed) is taken away first.

    Returns:
        The mount point, and whether a dead mount was removed.

    Raises:
        MountpointTaken: A living phonevault mount is there.
        MountpointUnusable: It is inside the vault or the other way round.
        MountpointError, FuseUnavailable, FusermountMissing: As `phonevault.fuse.mount` finds.
    """
    from phonevault.fuse.mount import check_fuse, check_mountpoint

    mounts = {entry.mountpoint for entry in phonevault_mounts()}
    mountpoint = canonical_mountpoint(path, mounts)
    check_fuse()
    removed = False
    if mountpoint in mounts:
        removed = _remove_dead(mountpoint)
    _check_apart(Path(mountpoint), vault)
    check_mountpoint(Path(mountpoint))
    return Path(mountpoint), removed


def _remove_dead(mountpoint: str) -> bool:
    if not is_dead(mountpoint):
        raise MountpointTaken(f"a vault is mounted on {mountpoint} already")
    remove_dead(mountpoint)
    return True


def remove_dead(mountpoint: str) -> None:
    """Take away a mount whose daemon has ended.

    Raises:
        FuseError: fusermount3 is missing or refused.
    """
    from phonevault.fuse.mount import unmount

    unmount(Path(mountpoint), lazy=True)


def _check_apart(mountpoint: Path, vault: Path) -> None:
    if mountpoint == vault or vault in mountpoint.parents:
        raise MountpointUnusable(f"the mount point {mountpoint} is inside the vault")
    if mountpoint in vault.parents:
        raise MountpointUnusable(f"the vault {vault} is inside the mount point")
