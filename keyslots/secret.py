"""Memory for keys: locked into RAM, left out of core dumps and of children, wiped when no longer needed."""

from __future__ import annotations

import ctypes
import hmac
import mmap
from types import TracebackType
from typing import Any, NoReturn

from .memory import wipe

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mlock.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_MADV_WIPEONFORK = 18  # madvise(2); Python 3.11 has no name for it


class _Pages(mmap.mmap):
    """Anonymous pages that wipe themselves when the last reference goes, be it the secret's or a view's.

    So `cipher(Secret.random(32).view)` works: the view, not only the secret, keeps the bytes.
    """

    __slots__ = ()

    def __del__(self) -> None:
        if not self.closed:
            self[:] = bytes(len(self))


class Secret:
    """A fixed number of secret bytes in pages of their own.

    The pages are anonymous memory, locked with mlock(2) as far as RLIMIT_MEMLOCK allows (see `locked`),
    marked MADV_DONTDUMP and MADV_WIPEONFORK. Nothing that prints, formats, pickles or copies the object shows
    the bytes.
    """

    __slots__ = ("_length", "_locked", "_pages", "_wiped")
    __hash__ = None  # type: ignore[assignment]  # mutable, and a hash of a secret has no use

    def __init__(self, length: int) -> None:
        """Make `length` zero bytes.

        Raises:
            ValueError: `length` is not 1 … 65536.
        """
        if not 1 <= length <= 65536:
            raise ValueError("a secret has 1 to 65536 bytes")
        self._length = length
        size = -(-length // mmap.PAGESIZE) * mmap.PAGESIZE
        self._pages = _Pages(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._wiped = False
        self._pages.madvise(mmap.MADV_DONTDUMP)
        self._pages.madvise(_MADV_WIPEONFORK)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))
        self._locked: bool = _libc.mlock(address, size) == 0

    @classmethod
    def take(cls, source: bytearray | memoryview) -> Secret:
        """Copy `source` and wipe it."""
        try:
            secret = cls(len(source))
            secret.view[:] = source
        finally:
            wipe(source)
        return secret

    @classmethod
    def random(cls, length: int) -> Secret:
        """Make `length` bytes from the kernel's generator (random(4)), straight into the locked pages."""
        secret = cls(length)
        with open("/dev/urandom", "rb", buffering=0) as source:
            if source.readinto(secret.view) != length:
                raise OSError("short read from /dev/urandom")
        return secret

    @property
    def view(self) -> memoryview:
        """The bytes, writable, no copy. `wipe` zeroes what a view shows; a view keeps unwiped bytes alive.

        Raises:
            ValueError: the secret was wiped.
        """
        if self._wiped:
            raise ValueError("this secret was wiped")
        return memoryview(self._pages)[: self._length]

    @property
    def locked(self) -> bool:
        """Whether mlock(2) succeeded; if not, the bytes may reach swap space."""
        return self._locked

    @property
    def wiped(self) -> bool:
        """Whether the bytes are gone."""
        return self._wiped

    def copy(self) -> Secret:
        """Return a second secret with the same bytes, in pages of its own."""
        other = Secret(self._length)
        other.view[:] = self.view
        return other

    def wipe(self) -> None:
        """Overwrite the bytes and give the pages back. May be called again."""
        if self._wiped:
            return
        self._wiped = True
        wipe(memoryview(self._pages))
        try:
            self._pages.close()
        except BufferError:
            # Someone still holds a view: it shows zeros, and the pages go with it.
            return

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        """Compare in constant time; bytes of another type are never equal."""
        if not isinstance(other, Secret):
            return NotImplemented
        same: bool = hmac.compare_digest(self.view, other.view)
        return same

    def __enter__(self) -> Secret:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wipe()

    def __repr__(self) -> str:
        return f"<Secret of {self._length} bytes>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a secret is neither copied nor pickled")
