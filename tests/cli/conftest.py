"""A paired phone and a vault, made once and copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.computer import Computer


@pytest.fixture(scope="session")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Computer]:
    """A computer with a phone, paired, and a vault; not running."""
    computer = Computer(tmp_path_factory.mktemp("pattern"))
    try:
        computer.make_phone()
        computer.start_phone("--approve", "auto", "--accept-pairing")
        computer.pair()
        computer.create()
        computer.stop_phone()
        yield computer
    finally:
        computer.close()


@pytest.fixture
def computer(pattern: Computer, tmp_path: Path) -> Iterator[Computer]:
    """A copy of the pattern for one test; the phone does not run yet."""
    root = tmp_path / "c"
    shutil.copytree(pattern.root, root, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
    copy = Computer(root)
    book = root / "home" / "config" / "phonevault" / "phones.json"
    book.write_text(book.read_text().replace(pattern.spec, copy.spec))
    try:
        yield copy
    finally:
        copy.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Computer]:
    """A computer that knows no phone."""
    (tmp_path / "c").mkdir()
    computer = Computer(tmp_path / "c")
    try:
        yield computer
    finally:
        computer.close()
