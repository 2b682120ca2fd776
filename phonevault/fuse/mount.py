"""Mounting and unmounting through fusermount3, for root and ordinary users alike."""

from __future__ import annotations

import array
import os
import re
import shutil
import socket
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from phonevault.fuse.errors import FusermountMissing, FuseUnavailable, MountBusy, MountFailed, MountpointError

_DEVICE = Path("/dev/fuse")


@dataclass(frozen=True)
class MountOptions:
    """How a file system is mounted.

    Attributes:
        source: what ``mount`` shows as the device, usually the ciphertext directory.
        subtype: shown as ``fuse.SUBTYPE``.
        allow_other: users other than the mounting one may enter; the kernel checks permissions either way.
        read_only: the kernel refuses every change.
        suid: set-id bits and file capabilities count. Who can write the ciphertext can set them, so only root may ask for it.
        dev: device files open; likewise.
    """

    source: str
    subtype: str = "phonevault"
    allow_other: bool = False
    read_only: bool = False
    suid: bool = False
    dev: bool = False

    def as_text(self) -> str:
        """The option string; commas and backslashes in the source are escaped as fusermount3 wants it."""
        source = self.source.replace("\\", "\\\\").replace(",", "\\,")
        options = ["default_permissions", f"fsname={source}", f"subtype={self.subtype}"]
        options += ["dev" if self.dev else "nodev", "suid" if self.suid else "nosuid"]
        if self.allow_other:
            options.append("allow_other")
        options.append("ro" if self.read_only else "rw")
        return ",".join(options)


def check_mountpoint(mountpoint: Path) -> None:
    """Refuse a mount point that is not an empty directory.

    Raises:
        MountpointError: it is missing, no directory, not empty, or a dead or living mount.
    """
    try:
        status = mountpoint.stat()
    except FileNotFoundError:
        raise MountpointError(f"the mount point {mountpoint} does not exist") from None
    except OSError as error:
        raise MountpointError(f"the mount point {mountpoint} cannot be used: {error.strerror}") from None
    if not stat.S_ISDIR(status.st_mode):
        raise MountpointError(f"the mount point {mountpoint} is not a directory")
    if os.path.ismount(mountpoint):
        raise MountpointError(f"something is mounted on {mountpoint} already")
    try:
        empty = not os.listdir(mountpoint)
    except OSError as error:
        raise MountpointError(f"the mount point {mountpoint} cannot be read: {error.strerror}") from None
    if not empty:
        raise MountpointError(f"the mount point {mountpoint} is not empty")


def check_fuse() -> str:
    """The path of fusermount3, if FUSE can be used here.

    Raises:
        FuseUnavailable: no /dev/fuse.
        FusermountMissing: no fusermount3 in PATH.
    """
    try:
        is_device = stat.S_ISCHR(_DEVICE.stat().st_mode)
    except OSError:
        raise FuseUnavailable(f"there is no {_DEVICE}: the kernel offers no FUSE here") from None
    if not is_device:
        raise FuseUnavailable(f"{_DEVICE} is no character device: the kernel offers no FUSE here")
    program = shutil.which("fusermount3")
    if program is None:
        raise FusermountMissing("the program fusermount3 was not found")
    return program


def mount(mountpoint: Path, options: MountOptions) -> int:
    """Mount and return the open /dev/fuse descriptor.

    fusermount3 (setuid root) mounts and sends the descriptor over the socket named in ``_FUSE_COMMFD`` (SCM_RIGHTS).

    Raises:
        FuseUnavailable, FusermountMissing, MountpointError: as named.
        MountFailed: fusermount3 said no; the message is its own.
    """
    program = check_fuse()
    check_mountpoint(mountpoint)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        result = subprocess.Popen(
            [program, "-o", options.as_text(), "--", str(mountpoint)],
            env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno()), "LC_ALL": "C"},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        theirs.close()
        fd = _receive_descriptor(ours)
        _, complaint = result.communicate()
    if fd is None:
        raise _refusal(complaint.decode(errors="replace").strip())
    os.set_inheritable(fd, False)
    return fd


def unmount(mountpoint: Path, *, lazy: bool = False) -> None:
    """Take the mount away; ``lazy`` detaches it even if it is busy.

    Raises:
        MountBusy: files in it are open.
        FusermountMissing, MountFailed: as named.
    """
    program = shutil.which("fusermount3")
    if program is None:
        raise FusermountMissing("the program fusermount3 was not found")
    result = subprocess.run(
        [program, "-u", *(["-z"] if lazy else []), "--", str(mountpoint)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C"},
        check=False,
    )
    if result.returncode == 0:
        return
    complaint = result.stderr.decode(errors="replace").strip()
    if "busy" in complaint:
        raise MountBusy(f"{mountpoint} is in use")
    raise MountFailed(f"cannot unmount {mountpoint}: {complaint}")


def _receive_descriptor(channel: socket.socket) -> int | None:
    """The descriptor that fusermount3 sends, or None if it ended without."""
    room = array.array("i")
    _, ancillary, _, _ = channel.recvmsg(1, socket.CMSG_SPACE(room.itemsize))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            room.frombytes(data[: room.itemsize])
            return room[0]
    return None


def _refusal(complaint: str) -> FuseUnavailable | MountFailed:
    reason = re.sub(r"^\S*fusermount3: ", "", complaint) or "fusermount3 gave no reason"
    if "fuse device not found" in complaint:  # the node is there, the kernel module is not
        return FuseUnavailable(f"{_DEVICE} does not work: {reason}")
    error = MountFailed(f"mounting failed: {reason}")
    if "user_allow_other" in complaint:
        error.hint = "an ordinary user needs the line 'user_allow_other' in /etc/fuse.conf for --allow-other"
    elif "open /dev/fuse: Permission denied" in complaint:  # fusermount3 opens it with the user's rights
        error.hint = "only root may open /dev/fuse here; as root, 'chmod 666 /dev/fuse' (udev's usual mode)"
    return error
