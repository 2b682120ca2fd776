"""A vault whose keys are rotated: a tree to begin with, and what must be the same afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import random
from typing import Any

from support.computer import Computer, wait_until
from support.file_epochs import file_epochs


def by_code(computer: Computer) -> tuple[object, ...]:
    return ("--recovery-file", computer.code_file)


def create_xts(computer: Computer) -> None:
    """A second, empty vault under AES-XTS takes the place of the computer's."""
    computer.vault = computer.root / "xts"
    computer.code_file.unlink()
    words = ("--no-phone", "--single-slot", "--recovery-file", computer.code_file, "--cipher", "aes-256-xts")
    computer.run("create", computer.vault, *words)


def fill(computer: Computer, files: int) -> None:
    """A tree with hard links, holes, a long name, a link, old times."""
    computer.mount(*by_code(computer))
    place = computer.place
    for number in range(files):
        directory = place / f"d{number % 7}"
        directory.mkdir(exist_ok=True)
        (directory / f"file {number}").write_bytes(random.Random(number).randbytes(number * 37 % 9000))
    (place / ("n" * 250)).write_text("long")
    (place / "link").symlink_to("d1/file 1")
    os.link(place / "d1" / "file 1", place / "second name")
    with (place / "sparse").open("wb") as sparse:
        sparse.seek(1 << 20)
        sparse.write(b"end")
    os.utime(place / "d1" / "file 1", ns=(10**18, 10**18 + 1))
    computer.run("unmount", place)


def view(computer: Computer) -> dict[str, Any]:
    """Everything a program can see of the tree."""
    computer.mount("--read-only", *by_code(computer))
    found: dict[str, Any] = {}
    for path in sorted(computer.place.rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(computer.place))] = (
            status.st_mode,
            status.st_nlink,
            status.st_size,
            status.st_mtime_ns,
            status.st_blocks < 300,
            os.readlink(path) if path.is_symlink() else hashlib.sha256(data).hexdigest(),
        )
    computer.run("unmount", computer.place)
    return found


def header_epochs(computer: Computer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(computer.run("info", computer.vault, "--json").stdout)["epochs"]
    return found


def used_epochs(computer: Computer) -> set[int]:
    return set(file_epochs(computer.vault / "tree"))


def rotation(computer: Computer) -> dict[str, Any]:
    """What the mount says of its rotation."""
    found: dict[str, Any] = computer.status()["rotation"]
    return found


def wait_for_rotation(computer: Computer, state: str) -> dict[str, Any]:
    """Wait until the mount's rotation has come to a state."""
    wait_until(lambda: rotation(computer)["state"] == state)
    return rotation(computer)
