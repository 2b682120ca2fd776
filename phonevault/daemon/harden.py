"""What a process that holds keys switches off: core dumps, and being read by others of the same user."""

from __future__ import annotations

import ctypes
import os
import resource

PR_SET_DUMPABLE = 4
"""prctl(2): 0 also denies ptrace(2) and /proc/PID/mem to processes without CAP_SYS_PTRACE."""


def forbid_dumps() -> None:
    """No core file, no ptrace by the same user; inherited limits are lowered for children too.

    Raises:
        OSError: The kernel refused.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "prctl(PR_SET_DUMPABLE)")
