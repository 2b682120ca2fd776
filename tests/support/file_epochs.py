"""The epochs that a ciphertext tree's file keys are wrapped under."""

from __future__ import annotations

import os
from pathlib import Path

from phonevault.fs.format.file_header import parse_header
from phonevault.fs.format.names import is_entry
from phonevault.fs.walk import walk


def file_epochs(tree: Path) -> list[int]:
    """One for each regular file that is not empty, sorted."""
    found = []
    for directory_fd, entry in walk(tree, is_entry):
        if entry.is_file(follow_symlinks=False) and is_entry(entry.name) and entry.stat().st_size:
            fd = os.open(entry.name, os.O_RDONLY, dir_fd=directory_fd)
            found.append(parse_header(os.pread(fd, 128, 0)).epoch)
            os.close(fd)
    return sorted(found)
