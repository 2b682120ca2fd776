"""What a test needs of the machine.

Each function skips the test and names what is missing; where CI is set, that is a failure (conftest.py).
"""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import stat
from pathlib import Path

import pytest

FUSE_DEVICE = Path("/dev/fuse")
NOT_APPLICABLE = "not applicable: "
"""A skip whose reason starts so is no failure in CI: the test has no meaning for this user or kernel."""


def need_program(name: str) -> str:
    """The path of a program in PATH."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"missing program: {name}")
    return path


def need_module(name: str) -> None:
    """A Python module that can be imported."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"missing Python module: {name}")


def need_fuse() -> None:
    """The kernel's FUSE device, and a way to mount: fusermount3, or being root."""
    if not FUSE_DEVICE.exists() or not stat.S_ISCHR(FUSE_DEVICE.stat().st_mode):
        pytest.skip(f"missing device: {FUSE_DEVICE}")
    if not os.access(FUSE_DEVICE, os.R_OK | os.W_OK):
        pytest.skip(f"missing: the right to open {FUSE_DEVICE} (mode 0666)")
    need_program("fusermount3")


def need_fuse_for_all() -> None:
    """As `need_fuse`, and ordinary users may mount as well."""
    need_fuse()
    if FUSE_DEVICE.stat().st_mode & 0o006 != 0o006:
        pytest.skip(f"missing: the right of all users to open {FUSE_DEVICE} (mode 0666)")


def need_root() -> None:
    """The test only means something for root."""
    if os.geteuid() != 0:
        pytest.skip(NOT_APPLICABLE + "only root can do this")


def need_ordinary_user() -> None:
    """The test only means something for a user other than root."""
    if os.geteuid() == 0:
        pytest.skip(NOT_APPLICABLE + "root may do this anyway")


def need_xattrs(directory: Path) -> None:
    """A file system with user attributes under the tests' directory (tmpfs has them since Linux 6.6)."""
    try:
        os.getxattr(directory, "user.probe")
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            pytest.skip(f"missing: extended attributes below {directory}")


def need_acls(directory: Path) -> None:
    """A file system with user attributes and POSIX access control lists under the tests' directory."""
    need_xattrs(directory)
    try:
        os.getxattr(directory, "system.posix_acl_access")
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            pytest.skip(f"missing: access control lists below {directory}")
