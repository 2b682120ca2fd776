"""Mounting must not need root: when the tests run as root, those with real mounts run once more as nobody.

Those marked `anyone` do so in the long form only: they are about contents, the format or the wire, and root has proven them.
"""

from __future__ import annotations

import pytest
from support.needs import need_fuse_for_all, need_root
from support.ordinary_user import ordinary_user

BESIDE_EACH_OTHER = ("-n", "2", "--dist", "worksteal", "-p", "no:cacheprovider")


@pytest.mark.parametrize(
    "which",
    [
        pytest.param("mount and not slow and not anyone", id="what the user matters to"),
        pytest.param("mount and not slow", id="all", marks=pytest.mark.slow),
    ],
)
def test_mount_tests_pass_for_an_ordinary_user(which: str) -> None:
    need_root()
    need_fuse_for_all()
    with ordinary_user() as user:
        result = user.run("-m", "pytest", "-m", which, *BESIDE_EACH_OTHER, timeout_s=900)
    print(result.stdout)  # shown if the test fails
    assert result.returncode == 0, result.stdout[-4000:]
    assert " passed" in result.stdout.splitlines()[-1]
