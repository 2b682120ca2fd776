"""What can go wrong between us and the kernel when mounting."""

from __future__ import annotations


class FuseError(Exception):
    """Base of this package's errors."""

    hint = ""


class FuseUnavailable(FuseError):
    """There is no usable /dev/fuse."""

    hint = "load the kernel module with 'modprobe fuse'; in a container, pass the device /dev/fuse in"


class FusermountMissing(FuseError):
    """The program fusermount3 is not installed."""

    hint = "install the package fuse3 (Debian: apt install fuse3)"


class MountpointError(FuseError):
    """The mount point is missing, not a directory, not empty, or already a mount."""

    hint = "give an empty directory of your own"


class MountFailed(FuseError):
    """fusermount3 or mount(2) refused."""

    hint = (
        "does /dev/fuse belong to the kernel's FUSE (ls -l: 10, 229), and may you write in the mount point?"
    )


class MountBusy(FuseError):
    """The mount cannot be taken away: files in it are open."""

    hint = "close the programs that use it, and try again"


class ProtocolMismatch(FuseError):
    """The kernel's FUSE protocol is older than 7.31."""

    hint = "Linux 5.4 or later is needed"
