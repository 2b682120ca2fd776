"""Reading requests from and writing replies to an open /dev/fuse descriptor."""

from __future__ import annotations

import errno
import io
import os
import select
from collections.abc import Sequence
from time import monotonic_ns

from phonevault.fuse import abi
from phonevault.fuse.patience import Patience
from phonevault.fuse.request import Request

_OUT = abi.OUT_HEADER.pack
_OUT_BYTES = abi.OUT_HEADER.size
_IN = abi.IN_HEADER.unpack_from
_IN_BYTES = abi.IN_HEADER.size
_GONE = (errno.ENODEV, errno.ECONNABORTED, errno.EBADF)


class Device:
    """The kernel's end of a mount: one descriptor, any number of threads.

    Args:
        fd: open /dev/fuse. It is made non-blocking: while one request follows the other, asking again for a moment costs less than to
            sleep and be woken.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        os.set_blocking(fd, False)
        # Of Python's ways to read this one alone says "nothing yet" by a value: an exception takes half as long again.
        self._read = io.FileIO(fd, "rb", closefd=False).readinto
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._patience = Patience(len(os.sched_getaffinity(0)))

    def receive(self, buffer: memoryview, request: Request) -> bool:
        """Wait for the next request and fill ``request`` from it.

        Args:
            buffer: the request's body will point into it.
            request: what to fill.

        Returns:
            False once the file system is unmounted.
        """
        read, patience, asked_ns = self._read, self._patience, 0
        while True:
            try:
                count = read(buffer)
            except OSError as error:
                if error.errno in _GONE:
                    return False
                # ENOENT: the request was interrupted before we took it.
                if error.errno != errno.ENOENT:
                    raise
                continue
            if count is not None:
                break
            now_ns = monotonic_ns()
            asked_ns = asked_ns or now_ns
            if now_ns - asked_ns >= patience.ns:
                self._poll.poll()
                patience.slept(monotonic_ns() - asked_ns)
                asked_ns = 0
        if asked_ns:
            patience.paid()
        if count < _IN_BYTES:
            return False
        parse(buffer, count, request)
        return True

    def reply(self, unique: int, body: bytes | memoryview | Sequence[bytes | memoryview]) -> None:
        """Answer a request with success."""
        if isinstance(body, (bytes, memoryview)):
            # Never joined: the body may be scratch memory, which a lock wipes, and nobody wipes a copy.
            self._write([_OUT(_OUT_BYTES + len(body), 0, unique), body])
            return
        self._write([_OUT(_OUT_BYTES + sum(map(len, body)), 0, unique), *body])

    def reply_error(self, unique: int, number: int) -> None:
        """Answer a request with an errno (a positive number)."""
        self._write([_OUT(_OUT_BYTES, -number, unique)])

    def notify(self, code: int, body: bytes) -> None:
        """Send a notification.

        Raises:
            OSError: the kernel's answer, ENOENT if it does not know the node or name.
        """
        os.writev(self.fd, [_OUT(_OUT_BYTES + len(body), code, 0), body])

    def _write(self, buffers: Sequence[bytes | memoryview]) -> None:
        try:
            os.writev(self.fd, buffers)
        except OSError as error:
            # ENOENT: the caller was killed meanwhile, nobody waits for this answer.
            if error.errno not in (errno.ENOENT, *_GONE):
                raise


def message_of(request: Request) -> bytearray:
    """The request as the kernel sent it, to be taken up later (it lives in a buffer that is used again)."""
    message = bytearray(_IN_BYTES + len(request.body))
    abi.IN_HEADER.pack_into(
        message,
        0,
        len(message),
        request.opcode,
        request.unique,
        request.nodeid,
        request.uid,
        request.gid,
        request.pid,
        0,
        0,
    )
    memoryview(message)[_IN_BYTES:] = request.body
    return message


def parse(buffer: memoryview, count: int, request: Request) -> None:
    """Fill ``request`` from one message of the kernel (``fuse_in_header`` and body), the first ``count`` bytes of a buffer."""
    (
        _,
        request.opcode,
        request.unique,
        request.nodeid,
        request.uid,
        request.gid,
        request.pid,
        extensions,
        _,
    ) = _IN(buffer)
    request.body = buffer[_IN_BYTES : count - 8 * extensions]
