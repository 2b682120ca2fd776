"""What a test needs of the machine.

Each function skips the test and names what is missing; where CI is set, that is a failure (conftest.py).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
from pathlib import Path

import pytest

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
    device = Path("/dev/fuse")
    if not device.exists() or not stat.S_ISCHR(device.stat().st_mode):
        pytest.skip("missing device: /dev/fuse")
    need_program("fusermount3")


def need_root() -> None:
    """The test only means something for root."""
    if os.geteuid() != 0:
        pytest.skip(NOT_APPLICABLE + "only root can do this")


def need_ordinary_user() -> None:
    """The test only means something for a user other than root."""
    if os.geteuid() == 0:
        pytest.skip(NOT_APPLICABLE + "root may do this anyway")
