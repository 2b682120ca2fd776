"""Which of Debian's kernels the machine runs. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

PANICS = frozenset({"6.1.192-2"})
"""Versions that panic when a connection to an absent device times out."""
SEEN_WORKING = ("6.12.111", "6.1.190", "6.1.187", "6.1.176", "6.1.170")
"""Upstream versions seen to boot and to survive such a connection; taken first, so that runs compare."""
# Signed images for real machines only: no -cloud (it has no Bluetooth), -rt, -unsigned, -dbg.
_NAME = re.compile(r"linux-image-\d+\.\d+\.\d+(?:-\d+|\+deb\d+)-amd64")
_UPSTREAM = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True)
class Kernel:
    """A package that the mirror offers."""

    package: str
    version: str

    @property
    def upstream(self) -> tuple[int, ...]:
        """`6.12.111-1~deb12u1` as (6, 12, 111)."""
        found = _UPSTREAM.match(self.version)
        return tuple(int(part or 0) for part in found.groups()) if found else ()

    @property
    def is_seen_working(self) -> bool:
        """Whether somebody has seen this one work."""
        return any(self.upstream == Kernel("", known).upstream for known in SEEN_WORKING)


def is_image(package: str) -> bool:
    """Whether a package of this name is a kernel image that will do."""
    return _NAME.fullmatch(package) is not None


def parse_madison(text: str) -> list[Kernel]:
    """Read the answer of `apt-cache madison`: package | version | source."""
    rows = (line.split("|") for line in text.splitlines())
    found = (Kernel(row[0].strip(), row[1].strip()) for row in rows if len(row) == 3)
    return list(dict.fromkeys(kernel for kernel in found if is_image(kernel.package)))


def in_order(kernels: Iterable[Kernel]) -> list[Kernel]:
    """The kernels to try: first those seen working, then the rest, each newest first; never one that panics."""
    usable = {kernel for kernel in kernels if kernel.version not in PANICS}
    return sorted(
        usable, key=lambda kernel: (kernel.is_seen_working, kernel.upstream, kernel.version), reverse=True
    )
