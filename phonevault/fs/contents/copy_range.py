"""Copying from file to file inside the daemon: decrypted and encrypted anew, since each file has its own key. Holes stay holes."""

from __future__ import annotations

import os

from phonevault.fs.contents.sparse_file import SparseFile
from phonevault.fs.keys import TreeKeys

REQUEST_BYTES = 8 << 20
"""Data copied for one request; a caller that wants more asks again. A lock waits for no longer piece of work."""
_CHUNK_BYTES = 256 << 10


def copy_range(
    keys: TreeKeys,
    source: SparseFile,
    source_offset: int,
    target: SparseFile,
    target_offset: int,
    length: int,
    cipher: memoryview,
    plain: memoryview,
) -> int:
    """Copy up to ``length`` bytes; ranges of one file must not overlap.

    Returns:
        How many bytes were copied: fewer at the end of the source, at an error behind the first piece, and after
        ``REQUEST_BYTES`` of data.

    Raises:
        FileDamaged: the first piece, or old data of the target that it needs, does not open.
        OSError: of the backing store, at the first piece.
    """
    # A view of it: what is assigned to a bytearray itself goes over a copy, which nobody wipes.
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    done = read = 0
    data_end = 0 if source.has_holes() else source_offset + length
    length = min(length, source.size() - source_offset)
    try:
        while done < length and read < REQUEST_BYTES:
            here, there = source_offset + done, target_offset + done
            if here >= data_end:
                data = min(source.seek(keys, here, os.SEEK_DATA), source_offset + length)
                if data > here:
                    target.make_hole(keys, there, there + data - here, cipher, plain)
                    done += data - here
                    continue
                data_end = source.seek(keys, here, os.SEEK_HOLE)
            # Up to a border of the target's units, so that the next piece begins with a whole one.
            step = min(length - done, data_end - here, _CHUNK_BYTES - there % target.unit)
            piece = source.read(keys, here, step, cipher, plain)
            if not piece:
                break  # cut short by someone else meanwhile
            buffer[: len(piece)] = piece
            target.write(keys, there, buffer[: len(piece)], cipher, plain)
            done += len(piece)
            read += len(piece)
    except OSError:
        if not done:
            raise
    finally:
        buffer[:] = bytes(_CHUNK_BYTES)
    return done
