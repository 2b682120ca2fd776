"""The operations that a mount and a plain directory are compared by (:mod:`support.twin_worlds`), and runs of them."""

from __future__ import annotations

import errno
import mmap
import os
import stat

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
from support.twin_worlds import (
    STRATEGIES,
    Step,
    World,
    common_status,
    far,
    files,
    folder_modes,
    folders,
    handles,
    lengths,
    modes,
    names,
    offsets,
    operation,
    outcome,
    pattern,
    seeds,
    set_times,
)

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


@operation(
    2,
    st.sampled_from([b"a", b"d", b"nowhere", b"s", b"t" * 3043, b"u" * 4095, b"../d/a", b"\xff" * 700]),
    names,
)
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


# -- extended attributes ----------------------------------------------------------------------------------

_KEYS = st.sampled_from(["user.a", "user." + "k" * 170, "user.\udcff"])
_SIZES = st.integers(0, 200)


@operation(1, names, _KEYS, _SIZES, st.sampled_from([0, 0, os.XATTR_CREATE, os.XATTR_REPLACE]))
def set_attribute(world: World, name: bytes, key: str, size: int, flags: int) -> None:
    os.setxattr(world.path(name), key, pattern(size, size), flags, follow_symlinks=False)


@operation(1, handles, _KEYS, _SIZES)
def set_handle_attribute(world: World, number: int, key: str, size: int) -> None:
    os.setxattr(world.fd(number), key, pattern(size, size))


@operation(1, names, _KEYS)
def get_attribute(world: World, name: bytes, key: str) -> bytes:
    return os.getxattr(world.path(name), key, follow_symlinks=False)


@operation(1, names, _KEYS)
def remove_attribute(world: World, name: bytes, key: str) -> None:
    os.removexattr(world.path(name), key, follow_symlinks=False)


@operation(1, handles)
def list_attributes(world: World, number: int) -> dict[str, bytes]:
    fd = world.fd(number)
    return {key: os.getxattr(fd, key) for key in os.listxattr(fd) if key.startswith("user.")}


# -- a run ------------------------------------------------------------------------------------------------

NOTHING: Step = ("nothing", ())
"""What a step that does not matter shrinks to."""
_BETWEEN = st.sampled_from([("lock", ()), ("lock", ()), ("remount", ())])
_STEP = st.one_of(st.just(NOTHING), *[st.sampled_from(STRATEGIES).flatmap(lambda one: one)] * 40, _BETWEEN)
STEPS = st.lists(_STEP, min_size=50, max_size=90).map(
    lambda drawn: [step for step in drawn if step != NOTHING]
)
