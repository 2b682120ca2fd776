"""Swap space: keys in use can reach it (docs/threat-model.md 5). Is it encrypted, as far as the kernel tells?"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from phonevault.doctor.finding import Finding, fine, warning

_ESCAPE = re.compile(rb"\\([0-7]{3})")
_DEEPEST = 8
_ENCRYPT = "encrypt the swap space (dm-crypt with a random key), or use zram, or turn it off (swapoff -a)"

ENCRYPTED = "dm-crypt"
MEMORY = "zram"
PLAIN = "not encrypted"
UNKNOWN = "nobody can tell"


@dataclass(frozen=True)
class Area:
    """One line of /proc/swaps.

    Attributes:
        name: The device or file.
        kind: ENCRYPTED, MEMORY, PLAIN or UNKNOWN.
    """

    name: str
    kind: str


def look() -> list[Finding]:
    """Observe and judge."""
    try:
        table = Path("/proc/swaps").read_bytes()
    except FileNotFoundError:  # a kernel without swap
        table = b""
    names = swap_names(table)
    return [judge([Area(name, _kind_of_area(name)) for name in names])]


def judge(areas: list[Area]) -> Finding:
    """One finding."""
    if not areas:
        return fine("swap", "none")
    found = ", ".join(f"{area.name} ({area.kind})" for area in areas)
    kinds = {area.kind for area in areas}
    if kinds <= {ENCRYPTED, MEMORY}:
        return fine("swap", found)
    if PLAIN in kinds:
        return warning("swap", f"keys in use can reach the disk: {found}", _ENCRYPT)
    return warning("swap", found, f"find out what it is; if it is not encrypted: {_ENCRYPT}")


def swap_names(table: bytes) -> list[str]:
    """Return the devices and files of /proc/swaps (proc(5)), whose blanks are escaped in octal."""
    fields = (line.split() for line in table.splitlines()[1:])
    return [
        os.fsdecode(_ESCAPE.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), words[0]))
        for words in fields
        if words
    ]


def kind_of_block(
    device: str, read: Callable[[str, str], str | None], below: Callable[[str], list[str]]
) -> str:
    """Return what a block device is, looking through LVM, RAID and partitions at what is below.

    Args:
        device: Its kernel name, `dm-0`, `sda2`.
        read: Gives the text of an attribute of /sys/class/block/DEVICE, None if there is none.
        below: Gives the devices it is made of.
    """
    return _kind(device, read, below, _DEEPEST)


def _kind(
    device: str, read: Callable[[str, str], str | None], below: Callable[[str], list[str]], depth: int
) -> str:
    if (read(device, "dm/uuid") or "").startswith("CRYPT-"):
        return ENCRYPTED
    if device.startswith("zram"):
        backing = read(device, "backing_dev") or "none"
        return MEMORY if backing == "none" else UNKNOWN
    if device.startswith(("loop", "nbd", "fuse")) or depth == 0:
        return UNKNOWN
    kinds = {_kind(lower, read, below, depth - 1) for lower in below(device)}
    if not kinds:
        return PLAIN
    return next(kind for kind in (PLAIN, UNKNOWN, MEMORY, ENCRYPTED) if kind in kinds)


def _kind_of_area(name: str) -> str:
    """A device by its name; a file by the device that its file system lies on."""
    try:
        status = os.stat(name)
        number = status.st_rdev or status.st_dev
        link = os.readlink(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    except OSError:  # of another mount namespace, or a file system over several devices (btrfs)
        return UNKNOWN
    return kind_of_block(os.path.basename(link), _attribute, _below)


def _attribute(device: str, name: str) -> str | None:
    try:
        return Path(f"/sys/class/block/{device}/{name}").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def _below(device: str) -> list[str]:
    """The devices that a mapped device or a RAID is made of; of a partition, its disk."""
    try:
        slaves = os.listdir(f"/sys/class/block/{device}/slaves")
    except OSError:
        slaves = []
    if slaves or not os.path.exists(f"/sys/class/block/{device}/partition"):
        return slaves
    return [os.path.basename(os.path.dirname(os.path.realpath(f"/sys/class/block/{device}")))]
