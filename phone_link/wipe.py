"""Overwriting secrets in memory that this process owns."""

from __future__ import annotations

import ctypes
import sys

_BYTES_HEADER = sys.getsizeof(b"") - 1
"""Bytes before the data of a CPython bytes object (the size of an empty one counts its final NUL)."""


def wipe(secret: bytearray | bytes) -> None:
    """Overwrite a secret with zeros, best effort.

    A bytes object is overwritten in place behind the interpreter's back: only for objects just made by a
    library call (decrypt, base64) that nobody else holds. Interned ones (length 0 and 1) are left alone.
    """
    if isinstance(secret, bytearray):
        secret[:] = bytes(len(secret))
    elif len(secret) > 1 and sys.implementation.name == "cpython":
        ctypes.memset(id(secret) + _BYTES_HEADER, 0, len(secret))
