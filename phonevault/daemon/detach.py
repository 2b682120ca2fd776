"""Becoming a daemon without losing what a fork would lose.

Locked memory (mlock(2)) and threads do not survive a fork, so the fork comes first: the child does all the
work, on the terminal it shares, and only says through a pipe that the mount is usable. Until then its errors
are printed by itself and its exit status becomes the parent's.
"""

from __future__ import annotations

import os
from collections.abc import Callable

READY = b"ready\n"

Ready = Callable[[], None]


def fork_and_wait(serve: Callable[[Ready], None], log_descriptor: Callable[[], int]) -> int | None:
    """Run `serve` in a child and wait until it is ready or has ended.

    Args:
        serve: Does everything; calls its argument once when the mount is usable, and goes on serving.
        log_descriptor: Opens the log, called in the child when it detaches.

    Returns:
        In the parent: 0 once the child is ready, else the child's exit status (128 + n after signal n).
        In the child: None after `serve` has returned.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        serve(lambda: _detach(writer, log_descriptor))
        return None
    os.close(writer)
    try:
        return _await(reader, child)
    finally:
        os.close(reader)


def _await(reader: int, child: int) -> int:
    message = b""
    while piece := os.read(reader, 64):
        message += piece
    if message == READY:
        return 0
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        return 128 - status
    return status or 1  # ended without being ready and without saying why: a bug, not a success


def _detach(writer: int, log_descriptor: Callable[[], int]) -> None:
    """Leave the terminal: own session, no standard input, output to the log, then tell the parent."""
    log_fd = log_descriptor()
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    os.close(null)
    os.close(log_fd)
    os.chdir("/")
    os.write(writer, READY)
    os.close(writer)
