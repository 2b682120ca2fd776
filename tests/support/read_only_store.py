"""A folder that cannot be written, whoever tries: a read-only bind mount over itself."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from support.needs import need_root


@contextlib.contextmanager
def read_only_store(folder: Path) -> Iterator[None]:
    need_root()
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)
