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
    handle, position, told, errors = tree.opendir(), 0, [], 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, what, failing_at(number, getattr(owner, what)))
        while True:
            try:
                part = tree.read_once(handle, position, plus=True)
            except OSError as error:
                assert error.errno == errno.EIO
                errors += 1
                continue  # the program tries again
            if not part:
                break
            told += [name for name, _, _ in part]
            position = part[-1][1]
    assert sorted(told) == sorted([*NAMES, b".", b".."]) and len(told) == len(NAMES) + 2
    counted = {name: table.get(node).lookups - before[name] for name, node in numbers.items()}
    assert counted == dict.fromkeys(NAMES, 1)
    assert errors <= 1
