"""Runs a phonevault command that kills itself (SIGKILL) at its nth change of the disk: argv[1] is n, argv[2] "before" or "after".

Counted are the calls through which the product changes files, but for notes in the state directory, which are not made every time;
those of one thread alone, if COUNTED_THREAD names it. With n = 0 nothing is killed, and their number is printed at the end.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from phonevault import newest_header, slot_use

CHANGES = (
    "pwrite",
    "pwritev",
    "write",
    "rename",
    "replace",
    "unlink",
    "link",
    "mkdir",
    "ftruncate",
    "fsync",
    "fdatasync",
    "utime",
)


def main() -> int:
    at, when = int(sys.argv[1]), sys.argv[2]
    counting = threading.Lock()
    count, thread = 0, os.environ.get("COUNTED_THREAD")
    noting = threading.local()

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            other = thread is not None and threading.current_thread().name != thread
            if other or getattr(noting, "now", False):
                return real(*arguments, **options)
            with counting:  # of two threads neither misses its number
                count += 1
                mine = count == at
            if mine and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **options)
            if mine:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    def not_counted(real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def call(*arguments: Any) -> Any:
            noting.now = True
            try:
                return real(*arguments)
            finally:
                noting.now = False

        return call

    for name in CHANGES:
        setattr(os, name, counted(getattr(os, name)))
    for module in (newest_header, slot_use):
        module.put_private = not_counted(module.put_private)  # type: ignore[attr-defined]
        module.private_dir = not_counted(module.private_dir)  # type: ignore[attr-defined]
    from phonevault.cli.main import run

    code = run(sys.argv[3:])
    print(f"changes: {count}")
    return code


if __name__ == "__main__":
    sys.exit(main())
