"""Rotations of a vault that nobody has mounted, against a copy of its ciphertext: interleaved rounds, both brought home to the disk."""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from benchmark import results
from phonevault import content_rotation, rotation
from phonevault.openers import RecoveryOpener
from phonevault.vault import OpenedVault, RecoverySlotRequest, create, open_vault

SMALL_BYTES = 4096
PER_FOLDER = 200
_MEGA = 1_000_000
PHONEVAULT = (sys.executable, "-m", "phonevault.cli.main")


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints; returns the exit code."""
    found: dict[str, Any] = {"files": arguments.files, "mib": arguments.mib, "ciphers": {}}
    table = Table(box=box.MARKDOWN)
    for column in ("cipher, tree", "cp -a", "rotate content", "÷ cp -a", "rotate master"):
        table.add_column(column, justify="left" if column == "cipher, tree" else "right")
    with tempfile.TemporaryDirectory(dir=arguments.base) as here:
        for cipher in ("aes-256-gcm", "aes-256-xts"):
            for name, files, mib in (("small files", arguments.files, 0), ("one file", 0, arguments.mib)):
                rounds = _measure(Path(here), cipher, files, mib, arguments.rounds)
                found["ciphers"][f"{cipher}, {name}"] = rounds
                table.add_row(f"{cipher}, {name}", *_shown(rounds))
    results.console().print(table)
    results.write_json(arguments.json, "rotation", found)
    return 0


def _shown(rounds: dict[str, list[float]]) -> list[str]:
    """Medians; the ratio is that of each round."""
    ratio = statistics.median(
        ours / copy for ours, copy in zip(rounds["content"], rounds["copy"], strict=True)
    )
    return [
        f"{statistics.median(rounds['copy']):.0f} MB/s",
        f"{statistics.median(rounds['content']):.0f} MB/s",
        f"{ratio:.2f}",
        f"{statistics.median(rounds['master']):,.0f} files/s" if rounds["master"] else "–",
    ]


def _measure(here: Path, cipher: str, files: int, mib: int, rounds: int) -> dict[str, list[float]]:
    """MB/s of copying and of `rotate content`, files/s of `rotate master`, for each round."""
    vault, code = here / "vault", here / "code"
    made = create(vault, cipher=cipher, slots=[RecoverySlotRequest()])
    code.touch(0o600)
    code.write_text(f"{made.recovery_code}\n")
    made.wipe()
    _fill(vault, code, here / "place", files, mib)
    size = sum(path.lstat().st_size for path in (vault / "tree").rglob("*") if path.is_file())
    times: dict[str, list[float]] = {"copy": [], "content": [], "master": []}
    for _ in range(rounds):
        times["copy"].append(size / _MEGA / _seconds(lambda: _copy(vault / "tree", here / "copy")))
        shutil.rmtree(here / "copy")
        os.sync()
        anew_s = _seconds(lambda: _rotate(vault, code, content_rotation.rotate_content))
        times["content"].append(size / _MEGA / anew_s)
        if files:
            times["master"].append(files / _seconds(lambda: _rotate(vault, code, rotation.rotate_master)))
    shutil.rmtree(vault)
    return times


def _fill(vault: Path, code: Path, place: Path, files: int, mib: int) -> None:
    place.mkdir(exist_ok=True)
    options = ("--recovery-file", str(code))
    subprocess.run([*PHONEVAULT, "mount", str(vault), str(place), *options], check=True)
    try:
        for number in range(files):
            folder = place / f"folder {number // PER_FOLDER}"
            folder.mkdir(exist_ok=True)
            (folder / f"file {number}").write_bytes(os.urandom(SMALL_BYTES))
        if mib:
            with (place / "large").open("wb") as file:
                for _ in range(mib):
                    file.write(os.urandom(1 << 20))
    finally:
        subprocess.run([*PHONEVAULT, "unmount", str(place)], check=True)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
    subprocess.run(["sync", "-f", str(target)], check=True)


def _rotate(vault: Path, code: Path, rotate: Callable[[OpenedVault, Callable[[Any], None]], Any]) -> None:
    opened = open_vault(vault, RecoveryOpener(code.read_text().strip()))
    try:
        if not rotate(opened, lambda _: None).complete:
            raise SystemExit("error: the rotation did not end")
    finally:
        opened.wipe()


def _seconds(act: Callable[[], None]) -> float:
    began_s = time.monotonic()
    act()
    return time.monotonic() - began_s
