from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.mounted_tree import MountedTree, mounted_tree

from keyslots.secret import Secret
from phonevault.fs.keys import TreeKeys


@pytest.fixture(scope="session")
def keys() -> TreeKeys:
    return TreeKeys(Secret.take(bytearray(range(32))), bytes(16), 1)


@pytest.fixture(params=["aes-256-gcm", "aes-256-xts"])
def mount(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MountedTree]:
    """A mounted tree under each cipher."""
    with mounted_tree(tmp_path, request.param) as tree:
        yield tree


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A plain directory on the same backing store."""
    folder = tmp_path / "plain"
    folder.mkdir()
    return folder
