"""Two directories that get the same operations, and how operations and their arguments are drawn.

An operation is a function of a world and drawn arguments; what it returns, or its errno, is compared. What a plain
directory does not promise (times of now, sizes of directories) is put into a common form first.
"""

from __future__ import annotations

import errno
import os
import random
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st

HANDLES = 4
LONG, LONGER, ODD = b"l" * 180, b"m" * 255, bytes([1, 10, 27, 92, 255]) + b" -*"
FILES = [b"a", b"b", LONG, ODD, b"d/a", b"d/" + LONGER, b"d/e/a", b"s/a"]
FOLDERS = [b".", b"d", b"d/e", b"s", LONGER]
WRONG = [b"a/a", b"n" * 256, b"d/..", b"nowhere/a"]
LATEST_SET_NS = 10**18
"""Times set by the tests are before this one (September 2001), times of now behind it."""

Step = tuple[str, tuple[object, ...]]
Operation = Callable[..., object]
OPERATIONS: dict[str, Operation] = {}
STRATEGIES: list[st.SearchStrategy[Step]] = []


@dataclass
class World:
    """One of the two directories, and what is open in it."""

    root: bytes
    plain: bool
    handles: list[int] = field(default_factory=list)

    def path(self, name: bytes) -> bytes:
        return os.path.join(self.root, name)

    def keep(self, fd: int) -> None:
        self.handles.append(fd)
        if len(self.handles) > HANDLES:
            os.close(self.handles.pop(0))

    def fd(self, number: int) -> int:
        if not self.handles:
            raise OSError(errno.EBADF, "nothing is open")
        return self.handles[number % len(self.handles)]

    def close_all(self) -> None:
        while self.handles:
            os.close(self.handles.pop())


def operation(weight: int, *arguments: st.SearchStrategy[object]) -> Callable[[Operation], Operation]:
    """Register an operation with the strategies of its arguments; a heavier one is drawn more often."""

    def register(function: Operation) -> Operation:
        name = function.__name__
        OPERATIONS[name] = function
        STRATEGIES.extend([st.tuples(st.just(name), st.tuples(*arguments))] * weight)
        return function

    return register


def outcome(call: Callable[[], object]) -> object:
    """What a call returns, or the name of its errno."""
    try:
        return call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def pattern(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


_BORDERS = [0, 1, 15, 16, 17, 4095, 4096, 4097, 8192, 12288, 65535, 65536, 65537, 131072]
handles = st.integers(0, HANDLES - 1)
files = st.sampled_from(FILES)
folders = st.sampled_from(FOLDERS)
names = st.sampled_from(FILES * 3 + FOLDERS * 2 + WRONG)
offsets = st.one_of(st.sampled_from(_BORDERS), st.integers(0, 30_000), st.integers(0, 300_000))
far = st.one_of(offsets, offsets, offsets, st.integers(0, 5_000_000))
lengths = st.one_of(
    st.sampled_from([1, 16, 4096, 8192, 65536]), st.integers(1, 9000), st.integers(1, 150_000)
)
seeds = st.integers(0, 1000)
modes = st.sampled_from([0o644, 0o600, 0o640, 0o777, 0o400, 0o755])
folder_modes = st.sampled_from([0o755, 0o700, 0o777, 0o1777, 0o2755])
set_times = st.integers(0, LATEST_SET_NS)


def common_status(found: os.stat_result) -> tuple[object, ...]:
    """What of a status must be the same in both worlds."""
    changed = found.st_mtime_ns if found.st_mtime_ns <= LATEST_SET_NS else "now"
    size = None if stat.S_ISDIR(found.st_mode) else found.st_size
    return (oct(found.st_mode), size, found.st_nlink, found.st_uid, found.st_gid, changed)


def furnish(world: World) -> None:
    """What every run begins with."""
    os.makedirs(world.path(b"d/e"))
    os.symlink(b"d/e", world.path(b"s"))
    for number, name in enumerate((b"a", LONG, b"d/a")):
        with open(world.path(name), "wb") as file:
            file.write(pattern(number, 30_000 * number))
    world.keep(os.open(world.path(b"a"), os.O_RDWR))
    world.keep(os.open(world.path(b"d/a"), os.O_RDWR))
