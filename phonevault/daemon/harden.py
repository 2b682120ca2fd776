"""The process that holds keys: no core dumps, not read by others of the same user, and descriptors enough."""

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


def allow_many_files() -> None:
    """As many open descriptors as the hard limit grants: each file open in the mount costs one here, too."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
