"""Runs a phonevault command that kills itself (SIGKILL) at its nth change of the disk: argv[1] is n, argv[2] "before" or "after".

Counted are the calls through which the product changes files; those of one thread alone, if COUNTED_THREAD names it. With n = 0
nothing is killed, and their number is printed at the end.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

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
    count, thread = 0, os.environ.get("COUNTED_THREAD")

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            if thread is not None and threading.current_thread().name != thread:
                return real(*arguments, **options)
            count += 1
            mine = count == at
            if mine and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **options)
            if mine:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for name in CHANGES:
        setattr(os, name, counted(getattr(os, name)))
    from phonevault.cli.main import run

    code = run(sys.argv[3:])
    print(f"changes: {count}")
    return code


if __name__ == "__main__":
    sys.exit(main())
