"""A listing that meets an error: every node that was counted as looked up is one that the kernel was told of."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.direct_tree import DirectTree

from phonevault.fs import sidecars
from phonevault.fs.core import Core

NAMES = [b"a", b"b", b"l" * 200, b"m" * 220, b"c"]


def failing_at(number: int, real: Callable[..., Any]) -> Callable[..., Any]:
    count = 0

    def call(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == number:
            raise OSError(errno.EIO, "the disk")
        return real(*arguments)

    return call


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(("owner", "what"), [(Core, "stat_entry"), (sidecars, "read")])
def test_nothing_is_counted_that_the_kernel_is_not_told(
    tmp_path: Path, owner: Any, what: str, number: int
) -> None:
    tree = DirectTree(tmp_path / "tree")
    numbers = {name: tree.create(name) for name in NAMES}
    table = tree.filesystem._core.nodes
    before = {name: table.get(node).lookups for name, node in numbers.items()}
    position, told, errors = 0, dict[bytes, int](), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, what, failing_at(number, getattr(owner, what)))
        while True:
            try:
                part, behind = tree.told_behind(position)
            except OSError as error:
                assert error.errno == errno.EIO
                errors += 1
                continue  # the program tries again
            if not behind:
                break
            assert not part.keys() & told.keys()
            told |= part
            position = behind
    assert told.keys() == set(NAMES)
    counted = {name: table.get(node).lookups - before[name] for name, node in numbers.items()}
    assert counted == {name: int(node != 0) for name, node in told.items()}
    # An entry whose status cannot be read comes without it, and hides no other; one without a name is an error, once.
    assert (errors, list(told.values()).count(0)) in ([(0, 1)] if what == "stat_entry" else [(0, 0), (1, 0)])
