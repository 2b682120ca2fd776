"""Reading requests from and writing replies to an open /dev/fuse descriptor."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from phonevault.fuse import abi
from phonevault.fuse.request import Request

_OUT = abi.OUT_HEADER.pack
_OUT_BYTES = abi.OUT_HEADER.size
_IN_BYTES = abi.IN_HEADER.size
_GONE = (errno.ENODEV, errno.ECONNABORTED, errno.EBADF)


class Device:
    """The kernel's end of a mount: one descriptor, any number of threads."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def receive(self, buffer: memoryview, request: Request) -> bool:
        """Block for the next request and fill ``request`` from it; its body points into ``buffer``.

        Returns:
            False once the file system is unmounted.
        """
        while True:
            try:
                count = os.readv(self.fd, [buffer])
                break
            except OSError as error:
                if error.errno in _GONE:
                    return False
                # ENOENT: the request was interrupted before we took it; EINTR, EAGAIN: simply again.
                if error.errno not in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    raise
        if count < _IN_BYTES:
            return False
        parse(buffer[:count], request)
        return True

    def reply(self, unique: int, body: bytes | memoryview | Sequence[bytes | memoryview]) -> None:
        """Answer a request with success."""
        if isinstance(body, (bytes, memoryview)):
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

    def _write(self, buffers: list[bytes | memoryview]) -> None:
        try:
            os.writev(self.fd, buffers)
        except OSError as error:
            # ENOENT: the caller was killed meanwhile, nobody waits for this answer.
            if error.errno not in (errno.ENOENT, *_GONE):
                raise


def message_of(request: Request) -> bytes:
    """The request as the kernel sent it, to be taken up later (it lives in a buffer that is used again)."""
    length = _IN_BYTES + len(request.body)
    header = abi.IN_HEADER.pack(
        length, request.opcode, request.unique, request.nodeid, request.uid, request.gid, request.pid, 0, 0
    )
    return header + request.body


def parse(message: memoryview, request: Request) -> None:
    """Fill ``request`` from one message of the kernel (``fuse_in_header`` and body)."""
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
    ) = abi.IN_HEADER.unpack_from(message)
    end = len(message) - 8 * extensions
    request.body = message[_IN_BYTES:end]
