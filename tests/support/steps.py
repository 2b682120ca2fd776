"""Every call of a change that changes something on disk, one by one: to end it, or let it fail, before any of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from phonevault.fs import syscalls

CHANGING = (
    "open",
    "mkdir",
    "mknod",
    "symlink",
    "link",
    "unlink",
    "rmdir",
    "rename",
    "chmod",
    "fchmod",
    "chown",
    "write",
    "fsync",
    "setxattr",
    "removexattr",
)
_DIED = 77

Moment = Callable[[int], None]
"""Called with the number of a changing call, before it."""


def watch(patch: pytest.MonkeyPatch, moment: Moment) -> None:
    """``moment`` is called before every call that changes something."""
    count = 0

    def watched(call: Callable[..., Any], changes: Callable[..., bool]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            if changes(*arguments):
                count += 1
                moment(count)
            return call(*arguments, **options)

        return called

    for name in CHANGING:
        changes = (
            (lambda path, flags, *_: bool(flags & (os.O_CREAT | os.O_TRUNC)))
            if name == "open"
            else lambda *_: True
        )
        patch.setattr(os, name, watched(getattr(os, name), changes))
    patch.setattr(syscalls._libc, "renameat2", watched(syscalls._libc.renameat2, lambda *_: True))


def killed_before(step: int, change: Callable[[], object]) -> bool:
    """Run ``change`` in a child that ends before its changing call of that number; False if it has fewer."""
    child = os.fork()
    if not child:
        code = 1
        try:
            watch(pytest.MonkeyPatch(), lambda number: os._exit(_DIED) if number == step else None)
            change()
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, _DIED)
    return code == _DIED
