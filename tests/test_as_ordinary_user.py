"""Mounting must not need root: when the tests run as root, those with real mounts run once more as nobody."""

from __future__ import annotations

from support.needs import need_fuse_for_all, need_root
from support.ordinary_user import ordinary_user


def test_mount_tests_pass_for_an_ordinary_user() -> None:
    need_root()
    need_fuse_for_all()
    with ordinary_user() as user:
        result = user.run("-m", "pytest", "-m", "mount and not slow", "-p", "no:cacheprovider", timeout_s=600)
    print(result.stdout)  # shown if the test fails
    assert result.returncode == 0, result.stdout[-4000:]
    assert " passed" in result.stdout.splitlines()[-1]
