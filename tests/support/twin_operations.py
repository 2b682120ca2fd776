"""Operations on a mount and on a plain directory alike, and how they are drawn.

An operation is a function of a world and drawn arguments; what it returns, or its errno, is compared. What a plain
directory does not promise (times of now, sizes of directories) is put into a common form first.
"""

from __future__ import annotations

import errno
import mmap
import os
import random
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st

from phonevault.fs.syscalls import (
    FALLOC_KEEP_SIZE,
    FALLOC_PUNCH_HOLE,
    FALLOC_ZERO_RANGE,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    fallocate,
    rename,
)

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

# -- handles ----------------------------------------------------------------------------------------------

_FLAGS = [0, os.O_CREAT, os.O_CREAT, os.O_CREAT | os.O_EXCL, os.O_CREAT | os.O_TRUNC, os.O_TRUNC, os.O_APPEND,
          os.O_CREAT | os.O_APPEND, os.O_DIRECTORY, os.O_NOFOLLOW, os.O_CREAT | os.O_SYNC, os.O_DIRECT]  # fmt: skip


@operation(
    5,
    names,
    st.sampled_from([os.O_RDWR, os.O_RDWR, os.O_RDONLY, os.O_WRONLY]),
    st.sampled_from(_FLAGS),
    modes,
)
def open_file(world: World, name: bytes, access: int, flags: int, mode: int) -> None:
    if world.plain and flags & os.O_DIRECT and os.path.isfile(world.path(name)):
        flags &= ~os.O_DIRECT  # the store may want aligned requests; the mount takes any
    world.keep(os.open(world.path(name), access | flags | os.O_NONBLOCK, mode))


@operation(2, files)
def create_file(world: World, name: bytes) -> None:
    world.keep(os.open(world.path(name), os.O_RDWR | os.O_CREAT, 0o644))


@operation(1, folders)
def open_nameless(world: World, name: bytes) -> None:
    world.keep(os.open(world.path(name), os.O_RDWR | os.O_TMPFILE, 0o600))


@operation(1, handles, names)
def name_handle(world: World, number: int, name: bytes) -> None:
    os.link(f"/proc/self/fd/{world.fd(number)}", world.path(name), dst_dir_fd=0)


@operation(1, handles)
def close_handle(world: World, number: int) -> None:
    if world.handles:
        os.close(world.handles.pop(number % len(world.handles)))


# -- contents ---------------------------------------------------------------------------------------------


@operation(8, handles, far, lengths, seeds)
def write(world: World, number: int, offset: int, length: int, seed: int) -> int:
    return os.pwrite(world.fd(number), pattern(seed, length), offset)


@operation(4, handles, far, lengths)
def read(world: World, number: int, offset: int, length: int) -> bytes:
    return os.pread(world.fd(number), length, offset)


@operation(2, names, lengths, seeds)
def append(world: World, name: bytes, length: int, seed: int) -> int:
    fd = os.open(world.path(name), os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
    try:
        return os.write(fd, pattern(seed, length))
    finally:
        os.close(fd)


@operation(2, names, far)
def truncate_name(world: World, name: bytes, size: int) -> None:
    path = world.path(name)
    same = os.stat(path).st_size == size
    os.truncate(path, size)
    if same:
        os.utime(path, ns=(0, 0))  # Linux promises no new time where the size stays; some stores give one


@operation(3, handles, far)
def truncate_handle(world: World, number: int, size: int) -> None:
    os.ftruncate(world.fd(number), size)


_KINDS = [0, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE,
          FALLOC_ZERO_RANGE, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE]  # fmt: skip


@operation(4, handles, st.sampled_from(_KINDS), far, lengths)
def space(world: World, number: int, kind: int, offset: int, length: int) -> None:
    fd = world.fd(number)
    try:
        fallocate(fd, kind, offset, length)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP or not world.plain or not kind & FALLOC_ZERO_RANGE:
            raise
        zero_by_hand(fd, kind, offset, length)
    settle(fd)


def zero_by_hand(fd: int, kind: int, offset: int, length: int) -> None:
    """What FALLOC_FL_ZERO_RANGE does, for stores that cannot; also through a handle that appends."""
    size = os.fstat(fd).st_size
    end = min(offset + length, size) if kind & FALLOC_KEEP_SIZE else offset + length
    again = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
    try:
        os.pwrite(again, bytes(max(end - offset, 0)), offset)
    finally:
        os.close(again)


def settle(fd: int) -> None:
    """Whether a store's fallocate or mapping sets the time of change differs from store to store."""
    os.utime(fd, ns=(0, 0))


@operation(3, handles, handles, offsets, far, lengths)
def copy(world: World, source: int, target: int, offset: int, target_offset: int, length: int) -> int:
    return os.copy_file_range(world.fd(source), world.fd(target), length, offset, target_offset)


@operation(2, handles, offsets, lengths, seeds, st.booleans())
def mapped_write(world: World, number: int, offset: int, length: int, seed: int, flush: bool) -> object:
    fd = world.fd(number)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return None
    with mmap.mmap(fd, 0) as mapping:
        begin = offset % status.st_size
        data = pattern(seed, length)[: status.st_size - begin]
        mapping[begin : begin + len(data)] = data
        if flush:
            mapping.flush()
        found = mapping[max(begin - 100, 0) : begin + 100]
    settle(fd)
    return found


@operation(2, handles, far)
def holes(world: World, number: int, offset: int) -> object:
    """What SEEK_HOLE calls a hole is one; where it lies may differ."""
    fd = world.fd(number)
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        return None
    size = found.st_size
    hole = os.lseek(fd, offset, os.SEEK_HOLE)
    if hole < size:
        end = outcome(lambda: os.lseek(fd, hole, os.SEEK_DATA))
        end = end if isinstance(end, int) else size
        assert outcome(lambda: os.pread(fd, end - hole, hole)) in (bytes(end - hole), "EBADF")
    return hole >= offset


@operation(1, handles)
def sync(world: World, number: int) -> None:
    os.fsync(world.fd(number))


@operation(1, handles)
def forget_pages(world: World, number: int) -> None:
    os.posix_fadvise(world.fd(number), 0, 0, os.POSIX_FADV_DONTNEED)


# -- names ------------------------------------------------------------------------------------------------


@operation(6, names, names, st.sampled_from([0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE, 3]))
def rename_name(world: World, old: bytes, new: bytes, flags: int) -> None:
    rename(-100, os.fsdecode(world.path(old)), -100, os.fsdecode(world.path(new)), flags)


@operation(2, names, names)
def link(world: World, old: bytes, new: bytes) -> None:
    os.link(world.path(old), world.path(new), follow_symlinks=False)


@operation(2, st.sampled_from([b"a", b"d", b"nowhere", b"s", b"t" * 3043, b"../d/a", b"\xff" * 700]), names)
def symlink(world: World, target: bytes, name: bytes) -> None:
    os.symlink(target, world.path(name))


@operation(1, names)
def readlink(world: World, name: bytes) -> bytes:
    return os.readlink(world.path(name))


@operation(3, names)
def unlink(world: World, name: bytes) -> None:
    os.unlink(world.path(name))


@operation(2, names, folder_modes)
def mkdir(world: World, name: bytes, mode: int) -> None:
    os.mkdir(world.path(name), mode)


@operation(2, names)
def rmdir(world: World, name: bytes) -> None:
    os.rmdir(world.path(name))


@operation(1, names)
def mkfifo(world: World, name: bytes) -> None:
    os.mkfifo(world.path(name))


@operation(1, folders)
def list_names(world: World, name: bytes) -> list[bytes]:
    return sorted(os.listdir(world.path(name)))


# -- attributes -------------------------------------------------------------------------------------------


@operation(1, files, modes)
def chmod_file(world: World, name: bytes, mode: int) -> None:
    path = world.path(name)
    os.chmod(path, mode | (0o700 if stat.S_ISDIR(os.stat(path).st_mode) else 0))


@operation(1, handles, modes)
def chmod_handle(world: World, number: int, mode: int) -> None:
    fd = world.fd(number)
    os.chmod(fd, mode | (0o700 if stat.S_ISDIR(os.fstat(fd).st_mode) else 0))


@operation(2, names, set_times)
def set_name_times(world: World, name: bytes, when: int) -> None:
    os.utime(world.path(name), ns=(when, when), follow_symlinks=False)


@operation(1, handles, set_times)
def set_handle_times(world: World, number: int, when: int) -> None:
    os.utime(world.fd(number), ns=(when, when))


@operation(2, names)
def status(world: World, name: bytes) -> object:
    return common_status(os.lstat(world.path(name)))


def common_status(found: os.stat_result) -> tuple[object, ...]:
    """What of a status must be the same in both worlds."""
    changed = found.st_mtime_ns if found.st_mtime_ns <= LATEST_SET_NS else "now"
    size = None if stat.S_ISDIR(found.st_mode) else found.st_size
    return (oct(found.st_mode), size, found.st_nlink, found.st_uid, found.st_gid, changed)


# -- a run ------------------------------------------------------------------------------------------------

NOTHING: Step = ("nothing", ())
"""What a step that does not matter shrinks to."""
_BETWEEN = st.sampled_from([("lock", ()), ("lock", ()), ("remount", ())])
_STEP = st.one_of(st.just(NOTHING), *[st.sampled_from(STRATEGIES).flatmap(lambda one: one)] * 40, _BETWEEN)
STEPS = st.lists(_STEP, min_size=50, max_size=90).map(
    lambda drawn: [step for step in drawn if step != NOTHING]
)


def furnish(world: World) -> None:
    """What every run begins with."""
    os.makedirs(world.path(b"d/e"))
    os.symlink(b"d/e", world.path(b"s"))
    for number, name in enumerate((b"a", LONG, b"d/a")):
        with open(world.path(name), "wb") as file:
            file.write(pattern(number, 30_000 * number))
    world.keep(os.open(world.path(b"a"), os.O_RDWR))
    world.keep(os.open(world.path(b"d/a"), os.O_RDWR))
