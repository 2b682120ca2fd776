"""Overwriting secrets in memory that this process owns."""

from __future__ import annotations

import ctypes
import sys

_TEXT_HEADER = sys.getsizeof("") - 1
"""The same for a str object that holds only ASCII."""

_BYTES_HEADER = sys.getsizeof(b"") - 1
"""Bytes before the data of a CPython bytes object (the size of an empty one counts its final NUL)."""


def wipe(secret: bytearray | bytes | str) -> None:
    """Overwrite a secret with zeros, best effort.

    A bytes or str object is overwritten in place behind the interpreter's back: only for objects made at run
    time (decrypted, sliced, joined) that nobody else uses any more, never for literals, names or dictionary
    keys. Those of length 0 and 1 are shared by the interpreter, and text beyond ASCII is laid out otherwise:
    both are left alone.
    """
    if isinstance(secret, bytearray):
        secret[:] = bytes(len(secret))
    elif isinstance(secret, str):
        if len(secret) > 1 and secret.isascii() and sys.implementation.name == "cpython":
            ctypes.memset(id(secret) + _TEXT_HEADER, 0, len(secret))
    elif len(secret) > 1 and sys.implementation.name == "cpython":
        ctypes.memset(id(secret) + _BYTES_HEADER, 0, len(secret))
