from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from check.ciphertext import CIPHERS, Ciphertext


@pytest.fixture(params=CIPHERS)
def made(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Ciphertext]:
    """A small tree, made without a mount by the file system's own parts."""
    yield Ciphertext.make(tmp_path / "tree", request.param)
