"""A dead mount is told by asking its daemon, not the kernel's cache."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from phonevault.daemon.mounts import is_dead


def test_attributes_still_in_the_kernels_cache_do_not_make_a_dead_mount_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody_serves(path: str) -> os.statvfs_result:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN), path)

    monkeypatch.setattr(os, "statvfs", nobody_serves)
    assert os.stat(tmp_path)
    assert is_dead(str(tmp_path))
