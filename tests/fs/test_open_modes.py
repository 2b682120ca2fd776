"""O_TMPFILE, O_APPEND, O_TRUNC, O_DIRECT, O_SYNC and mappings on real mounts, from several processes where it matters."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import stat
import struct
import subprocess
import sys

import pytest
from support.mounted_tree import MountedTree

pytestmark = pytest.mark.mount

FS_IOC_GETFLAGS = 0x80086601
FIBMAP = 1


def child(program: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)])


# -- O_TMPFILE --------------------------------------------------------------------------------------------


def test_a_file_without_a_name(mount: MountedTree) -> None:
    before = os.listdir(mount.tree)
    fd = os.open(mount.path, os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"nobody finds this" * 1000)
    os.ftruncate(fd, 16_000)
    status = os.fstat(fd)
    assert (status.st_nlink, status.st_size, stat.S_IMODE(status.st_mode)) == (0, 16_000, 0o640)
    assert os.pread(fd, 17, 17) == b"nobody finds this"
    assert os.listdir(mount.path) == []
    os.close(fd)
    assert os.listdir(mount.tree) == before


@pytest.mark.parametrize("name", ["short", "long" * 60])
def test_a_file_without_a_name_is_given_one(mount: MountedTree, name: str) -> None:
    fd = os.open(mount.path, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b"text" * 5000)
    (mount.path / "folder").mkdir()
    os.link(f"/proc/self/fd/{fd}", mount.path / "folder" / name, dst_dir_fd=0)
    os.write(fd, b"more")
    assert os.fstat(fd).st_nlink == 1
    os.link(mount.path / "folder" / name, mount.path / "second")
    assert os.fstat(fd).st_ino == (mount.path / "second").stat().st_ino
    os.close(fd)
    mount.remount()
    assert (mount.path / "folder" / name).read_bytes() == b"text" * 5000 + b"more"
    assert (mount.path / "second").stat().st_nlink == 2


def test_a_file_without_a_name_that_may_have_none(mount: MountedTree) -> None:
    fd = os.open(mount.path, os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
    with pytest.raises(OSError) as caught:
        os.link(f"/proc/self/fd/{fd}", mount.path / "name", dst_dir_fd=0)
    assert caught.value.errno == errno.ENOENT
    os.close(fd)
    (mount.path / "f").write_text("text")
    with (mount.path / "f").open() as file:
        (mount.path / "f").unlink()
        with pytest.raises(OSError) as caught:
            os.link(f"/proc/self/fd/{file.fileno()}", mount.path / "name", dst_dir_fd=0)
        assert caught.value.errno == errno.ENOENT


def test_many_files_without_a_name_leave_no_descriptor(mount: MountedTree) -> None:
    def descriptors() -> int:
        return len(os.listdir(f"/proc/{mount.pid}/fd"))

    before = descriptors()
    for _ in range(300):
        os.close(os.open(mount.path, os.O_TMPFILE | os.O_RDWR, 0o600))
    os.listdir(mount.path)
    assert descriptors() < before + 100


# -- O_APPEND, O_TRUNC ------------------------------------------------------------------------------------

APPEND = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for number in range(400):
    record = f"{sys.argv[2]} {number} ".encode().ljust(100 + number % 50, b".") + b"\\n"
    assert os.write(fd, record) == len(record)
"""


def test_processes_that_append_at_once_lose_no_record(mount: MountedTree) -> None:
    path = mount.path / "log"
    writers = [child(APPEND, path, number) for number in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    mount.remount()
    seen: dict[str, int] = {}
    for line in path.read_text().splitlines():
        writer, number, rest = line.split(" ")
        assert int(number) == seen.get(writer, 0)
        assert len(line) == 100 + int(number) % 50
        assert set(rest) == {"."}
        seen[writer] = int(number) + 1
    assert seen == {str(number): 400 for number in range(4)}


def test_append_goes_to_the_end_wherever_the_offset_is(mount: MountedTree) -> None:
    path = mount.path / "f"
    path.write_bytes(b"0123456789")
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, b"end")
    os.truncate(path, 5)
    os.write(fd, b"again")
    os.close(fd)
    assert path.read_bytes() == b"01234again"


def test_truncating_open(mount: MountedTree) -> None:
    path = mount.path / "f"
    path.write_bytes(b"x" * 100_000)
    reader = os.open(path, os.O_RDONLY)
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
    assert os.fstat(reader).st_size == 0
    assert os.pread(reader, 10, 0) == b""
    path.write_bytes(b"new")
    assert os.pread(reader, 10, 0) == b"new"
    os.close(reader)


# -- O_DIRECT, O_SYNC -------------------------------------------------------------------------------------


def test_direct_io_aligned_unaligned_and_mixed(mount: MountedTree) -> None:
    path = mount.path / "f"
    model = bytearray(200_000)
    direct = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    buffered = os.open(path, os.O_RDWR)
    buffer = mmap.mmap(-1, 1 << 16)
    os.ftruncate(direct, len(model))
    steps = [
        (0, 4096),
        (4096, 65_536),
        (5, 10),
        (70_001, 4099),
        (131_072, 8192),
        (199_999, 1),
        (100_000, 50_000),
    ]
    for number, (offset, length) in enumerate(steps):
        data = bytes([number + 1]) * length
        if number % 3 == 1:
            assert os.pwrite(buffered, data, offset) == length
        else:
            buffer[:length] = data
            assert os.pwrite(direct, memoryview(buffer)[:length], offset) == length
        model[offset : offset + length] = data
        assert os.pread(buffered, length + 100, offset) == model[offset : offset + length + 100]
        size = os.preadv(direct, [memoryview(buffer)[:length]], offset)
        assert buffer[:size] == model[offset : offset + length]
    os.close(direct)
    os.close(buffered)
    mount.remount()
    assert path.read_bytes() == model


@pytest.mark.parametrize("flag", [os.O_SYNC, os.O_DSYNC], ids=["O_SYNC", "O_DSYNC"])
def test_a_synchronous_write_survives_kill_minus_nine(mount: MountedTree, flag: int) -> None:
    path = mount.path / "f"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | flag)
    os.write(fd, b"first" * 2000)
    os.pwrite(fd, b"second", 123)
    mount.kill()
    with contextlib.suppress(OSError):
        os.close(fd)
    mount.start()
    expected = bytearray(b"first" * 2000)
    expected[123:129] = b"second"
    assert path.read_bytes() == expected


# -- mappings ---------------------------------------------------------------------------------------------

MAP = """
import mmap, sys
with open(sys.argv[1], "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
    mapping[30000:30005] = b"other"
    mapping.flush()
"""


def test_shared_and_private_mappings(mount: MountedTree) -> None:
    path = mount.path / "f"
    path.write_bytes(b"." * 50_000)
    with path.open("r+b") as file:
        shared = mmap.mmap(file.fileno(), 0)
        private = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        shared[4090:4100] = b"everywhere"
        private[0:6] = b"secret"
        assert os.pread(file.fileno(), 10, 4090) == b"everywhere"
        os.pwrite(file.fileno(), b"written", 20_000)
        assert shared[20_000:20_007] == private[20_000:20_007] == b"written"
        assert child(MAP, path).wait(30) == 0
        assert shared[30_000:30_005] == b"other"
        shared.flush()
        mount.tell("lock")
        mount.tell("unlock")
        shared[40_000:40_004] = b"late"
        shared.close()
        private.close()
    mount.remount()
    expected = bytearray(b"." * 50_000)
    for offset, data in ((4090, b"everywhere"), (20_000, b"written"), (30_000, b"other"), (40_000, b"late")):
        expected[offset : offset + len(data)] = data
    assert path.read_bytes() == expected


# -- what there is not ------------------------------------------------------------------------------------


def test_ioctls_are_refused_as_by_any_file_without_them(mount: MountedTree) -> None:
    (mount.path / "f").write_text("text")
    for path in (mount.path / "f", mount.path):
        fd = os.open(path, os.O_RDONLY)
        for number in (FS_IOC_GETFLAGS, 0x12345678):
            with pytest.raises(OSError) as caught:
                fcntl.ioctl(fd, number, bytearray(8))
            assert caught.value.errno == errno.ENOTTY
        os.close(fd)
    if os.geteuid() == 0:
        block = bytearray(struct.pack("i", 1))
        with (mount.path / "f").open() as file:
            fcntl.ioctl(file, FIBMAP, block)
        assert block == bytes(4), "no block device is below"
