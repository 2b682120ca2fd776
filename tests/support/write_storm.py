"""Overwrites pieces of the file argv[1] as fast as the file system answers, until it dies.

Each piece is one WRITE request, lies across all borders of blocks and pages, and is filled with one byte. The first lines that
are printed tell that the file is there and synced.
"""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

PIECE = 1 << 20
PIECES = 4
SHIFT = 1000


def mixed_pieces(path: Path) -> list[int]:
    """Numbers of the pieces that are not filled with one byte; reads the whole file."""
    data = path.read_bytes()
    assert len(data) == SHIFT + PIECES * PIECE
    pieces = [data[SHIFT + number * PIECE :][:PIECE] for number in range(PIECES)]
    return [number for number, piece in enumerate(pieces) if piece != piece[:1] * PIECE]


def main() -> None:
    fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
    os.pwrite(fd, bytes(SHIFT + PIECES * PIECE), 0)
    os.fsync(fd)
    direct = os.open(sys.argv[1], os.O_WRONLY | os.O_DIRECT)
    buffers = [mmap.mmap(-1, PIECE) for _ in range(8)]
    for number, buffer in enumerate(buffers):
        buffer[:] = bytes([number]) * PIECE
    print("ready", flush=True)
    count = 0
    try:
        while True:
            count += 1
            os.pwrite(direct, buffers[count % len(buffers)], SHIFT + count % PIECES * PIECE)
    except OSError:
        return


if __name__ == "__main__":
    main()
