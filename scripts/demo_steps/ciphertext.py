"""Looks for plaintext in the ciphertext."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from pathlib import Path

from demo_steps import tree

SAMPLE_BYTES = 24
SAMPLES = 48
SHORTEST_NAME = 5  # shorter names may occur in base64 by chance


def samples(plaintext: Path) -> list[bytes]:
    """Pieces of real contents: words every Python source has, and random pieces of random files."""
    chance = random.Random(2001)
    files = [path for path in tree.walk(plaintext) if path.suffix == ".py" and path.stat().st_size > 4096]
    pieces = {b"def __init__(self", b"import sys", b"one file with three names", b"data after the hole"}
    for path in chance.sample(files, SAMPLES):
        data = path.read_bytes()
        start = chance.randrange(len(data) - SAMPLE_BYTES)
        pieces.add(data[start : start + SAMPLE_BYTES])
    return sorted(pieces)


def names(plaintext: Path) -> set[str]:
    """Names of files and directories that are long enough to be told from chance."""
    return {path.name for path in tree.walk(plaintext) if len(path.name) >= SHORTEST_NAME}


def names_shown(vault: Path, wanted: Iterable[str]) -> list[str]:
    """Plaintext names that are part of a ciphertext path."""
    paths = "\n".join(str(path.relative_to(vault)) for path in tree.walk(vault))
    return [name for name in wanted if name in paths]


def found_in(root: Path, wanted: Iterable[bytes]) -> dict[bytes, Path]:
    """Which of the `wanted` byte strings occur in a file or a link target below `root`, and where first."""
    left, found = set(wanted), {}
    for path in tree.walk(root):
        data = _content(path)
        for piece in [piece for piece in left if piece in data]:
            left.discard(piece)
            found[piece] = path
    return found


def _content(path: Path) -> bytes:
    if path.is_symlink():
        return os.fsencode(os.readlink(path))
    return path.read_bytes() if path.is_file() else b""
