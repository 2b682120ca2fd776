"""tcp:HOST:PORT and unix:PATH."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import threading
import time
from collections.abc import Callable

from phone_link.errors import LinkError, LinkTimeout, PhoneAbsent, SpecError
from phone_link.transport.descriptor import DescriptorStream, Waker

_BACKLOG = 16


def parse_tcp(rest: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT` or `[IPv6]:PORT`; `SpecError` otherwise."""
    host, separator, port = rest.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise SpecError(f"tcp:{rest}: write an IPv6 address in brackets")
    if not separator or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise SpecError(f"tcp:{rest}: expected tcp:HOST:PORT")
    return host, int(port)


def socket_stream(sock: socket.socket) -> DescriptorStream:
    """Return a stream that owns a connected stream socket."""
    sock.setblocking(False)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return DescriptorStream(
        sock.fileno(), release=sock.close, shutdown=lambda: sock.shutdown(socket.SHUT_RDWR)
    )


def connect_tcp(rest: str, timeout_s: float) -> DescriptorStream:
    """Connect to `HOST:PORT`; `PhoneAbsent` if nothing listens or answers in time."""
    host, port = parse_tcp(rest)
    try:
        return socket_stream(socket.create_connection((host, port), timeout=timeout_s))
    except TimeoutError:
        raise PhoneAbsent(f"no phone answers at tcp:{rest} within {timeout_s:g} s") from None
    except OSError as error:
        raise PhoneAbsent(f"no phone at tcp:{rest} ({error.strerror or error})") from None


def connect_unix(rest: str, timeout_s: float) -> DescriptorStream:
    """Connect to a unix socket; `PhoneAbsent` if nothing listens there."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout_s)
    try:
        sock.connect(_unix_path(rest))
    except TimeoutError:
        sock.close()
        raise PhoneAbsent(f"no phone answers at unix:{rest} within {timeout_s:g} s") from None
    except OSError as error:
        sock.close()
        raise PhoneAbsent(f"no phone at unix:{rest} ({error.strerror or error})") from None
    return socket_stream(sock)


def _unix_path(rest: str) -> str:
    if not rest or "\0" in rest:
        raise SpecError("unix: needs the path of a socket")
    if len(os.fsencode(rest)) > 107:
        raise SpecError("unix: the path is too long for a socket (107 bytes)")
    return rest


class SocketListener:
    """A `Listener` on a bound socket.

    Attributes:
        spec: what to connect to (with the port the system chose for port 0).
    """

    def __init__(self, sock: socket.socket, spec: str, cleanup: Callable[[], None] | None = None) -> None:
        sock.setblocking(False)
        sock.listen(_BACKLOG)
        self.spec = spec
        self._sock = sock
        self._cleanup = cleanup
        self._waker = Waker()
        self._accept_lock = threading.Lock()
        self._close_lock = threading.Lock()
        self._closed = False

    def accept(self, timeout_s: float | None) -> DescriptorStream:
        """See `Listener.accept`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._accept_lock:
            while True:
                remaining = None if deadline is None else deadline - time.monotonic()
                if not self._waker.wait(self._sock.fileno(), select.POLLIN, remaining):
                    raise LinkTimeout("nobody connected in time")
                # A connection may be gone again before it is accepted.
                with contextlib.suppress(BlockingIOError, InterruptedError, ConnectionError):
                    return socket_stream(self._sock.accept()[0])

    def close(self) -> None:
        """See `Listener.close`."""
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
        self._waker.set()
        with self._accept_lock:
            self._sock.close()
            self._waker.close()
            if self._cleanup is not None:
                self._cleanup()


def listen_tcp(rest: str) -> SocketListener:
    """Listen at `HOST:PORT`; port 0 lets the system choose."""
    host, port = parse_tcp(rest)
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        sock = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise LinkError(f"cannot listen at tcp:{rest} ({error.strerror or error})") from None
    shown = f"[{host}]" if ":" in host else host
    return SocketListener(sock, f"tcp:{shown}:{sock.getsockname()[1]}")


def listen_unix(rest: str) -> SocketListener:
    """Listen at a new unix socket (mode 0600); a stale one is replaced, one in use is not."""
    path = _unix_path(rest)
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The file takes the mode of the unbound socket: at no moment is it open to all.
        os.fchmod(sock.fileno(), 0o600)
        sock.bind(path)
        os.chmod(path, 0o600)
        inode = os.stat(path).st_ino
    except OSError as error:
        sock.close()
        raise LinkError(f"cannot listen at unix:{rest} ({error.strerror or error})") from None
    return SocketListener(sock, f"unix:{path}", cleanup=lambda: _unlink_if(path, inode))


def _remove_stale(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise LinkError(f"cannot listen at unix:{path}: something else is there")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError as error:
            raise LinkError(f"cannot listen at unix:{path} ({error.strerror or error})") from None
        else:
            raise LinkError(f"cannot listen at unix:{path}: another program listens there")


def _unlink_if(path: str, inode: int) -> None:
    with contextlib.suppress(OSError):
        if os.lstat(path).st_ino == inode:
            os.unlink(path)
