"""A worker's memory for requests: nothing is taken before it is used, and nothing is left after a wipe."""

from __future__ import annotations

import os

from benchmark import daemons

from phonevault.fuse.request import Request, untouched

SIZE_BYTES = 32 << 20


def resident_mib() -> float:
    return daemons.memory([os.getpid()]).rss


def test_scratch_takes_memory_only_where_it_is_used() -> None:
    before = resident_mib()
    request = Request(SIZE_BYTES)
    assert resident_mib() - before < 8
    piece = b"\1" * 65536  # small: what the C library keeps of a large one would be counted, too
    for start in range(0, SIZE_BYTES // 2, len(piece)):
        request.plain[start : start + len(piece)] = piece
    assert resident_mib() - before > 12
    del request
    assert resident_mib() - before < 8


def test_a_wipe_overwrites_what_was_plain() -> None:
    request = Request(100)
    request.plain[:] = b"p" * 100
    request.wipe_scratch()
    assert request.plain == bytes(100)
    assert len(request.cipher) == 100


def test_a_request_without_scratch_has_none() -> None:
    assert len(untouched(0)) == 0
