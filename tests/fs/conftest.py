from __future__ import annotations

import pytest

from keyslots.secret import Secret
from phonevault.fs.keys import TreeKeys


@pytest.fixture(scope="session")
def keys() -> TreeKeys:
    return TreeKeys(Secret.take(bytearray(range(32))), bytes(16), 1)
