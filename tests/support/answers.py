"""What a call answers, for comparing two file systems: its result, or the name of its error."""

from __future__ import annotations

import errno
from collections.abc import Callable


def answer(act: Callable[..., object], *arguments: object, **options: object) -> object:
    """The result of ``act(*arguments, **options)``, or the error's name (``ENODATA``)."""
    try:
        return act(*arguments, **options)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
