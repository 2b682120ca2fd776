"""poll, select, epoll, leases, programs run from a mount, several mounts at once: as on a plain directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import select
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.mounted_tree import MountedTree, mounted_tree
from support.sparse_files import outcome, pattern

pytestmark = pytest.mark.mount

LEASE_CALLS = [(fcntl.F_SETLEASE, fcntl.F_RDLCK), (fcntl.F_SETLEASE, fcntl.F_UNLCK)]


def test_waiting_for_a_file_or_directory(mount: MountedTree, plain: Path) -> None:
    answers = []
    for folder in (plain, mount.path):
        (folder / "f").write_bytes(b"text")
        found: list[object] = []
        for path, flags in ((folder / "f", os.O_RDWR), (folder / "f", os.O_RDONLY), (folder, os.O_RDONLY)):
            fd = os.open(path, flags)
            poll = select.poll()
            poll.register(fd, select.POLLIN | select.POLLOUT | select.POLLPRI)
            found.append([event for _, event in poll.poll(0)])
            found.append([len(ready) for ready in select.select([fd], [fd], [fd], 0)])
            os.close(fd)
        answers.append(found)
    assert answers[0] == answers[1]
    folder_fd = os.open(mount.path, os.O_RDONLY)
    with select.epoll() as epoll, (mount.path / "f").open() as file:
        assert outcome(lambda: epoll.register(folder_fd)) == "EPERM", "as everywhere"
        epoll.register(file)
        assert epoll.poll(0) == [(file.fileno(), select.EPOLLIN | select.EPOLLOUT)], "elsewhere EPERM"
    os.close(folder_fd)


def test_leases_and_notifications(mount: MountedTree, plain: Path) -> None:
    answers = []
    for folder in (plain, mount.path):
        (folder / "f").write_bytes(b"text")
        with (folder / "f").open("rb") as file:
            answers.append([outcome(lambda: fcntl.fcntl(file, *call)) for call in LEASE_CALLS])  # noqa: B023
    assert answers[0] == answers[1]


def test_a_program_file_is_run_and_cannot_be_written_meanwhile(mount: MountedTree) -> None:
    program = mount.path / "sleep"
    shutil.copy("/bin/sleep", program)
    mount.remount()
    with subprocess.Popen([program, "30"]) as child:
        os.stat(program)
        assert outcome(lambda: os.open(program, os.O_WRONLY)) == "ETXTBSY"
        mount.tell("lock")
        mount.tell("unlock")
        child.kill()
    assert subprocess.run([program, "0"], check=False).returncode == 0


def test_reading_ahead_stops_at_the_end(mount: MountedTree) -> None:
    sizes = (1, 4095, 4096, 4097, 131_071, 131_072, 131_073, 300_000)
    for size in sizes:
        (mount.path / f"{size}").write_bytes(pattern(size))
    mount.remount()
    for size in sizes:
        read_on(mount.path / f"{size}", size)


def read_on(path: Path, size: int) -> None:
    fd = os.open(path, os.O_RDWR)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    read = bytearray()
    while piece := os.read(fd, 10_000):
        read += piece
    assert read == pattern(size)
    assert os.pread(fd, 10, size) == b""
    os.pwrite(fd, b"more", size + 5000)
    assert os.pread(fd, 6000, size) == bytes(5000) + b"more"
    os.ftruncate(fd, size + 5001)
    os.ftruncate(fd, size + 9000)
    assert os.pread(fd, 10_000, size) == bytes(5000) + b"m" + bytes(3999)
    os.close(fd)


def test_a_file_open_for_writing_alone_is_merged(mount: MountedTree) -> None:
    path = mount.path / "f"
    path.write_bytes(pattern(20_000))
    mount.remount()
    fd = os.open(path, os.O_WRONLY)
    os.pwrite(fd, b"inside", 5000)
    os.pwrite(fd, b"end", 19_999)
    assert outcome(lambda: os.pread(fd, 1, 0)) == "EBADF"
    os.close(fd)
    mount.remount()
    expected = pattern(20_000)[:5000] + b"inside" + pattern(20_000)[5006:19_999] + b"end"
    assert path.read_bytes() == expected


SEES = """
import mmap, sys
with open(sys.argv[1], "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
    for line in sys.stdin:
        offset = int(line)
        print(mapping[offset:offset + 5].hex(), flush=True)
"""


def test_two_processes_share_a_mapping(mount: MountedTree) -> None:
    path = mount.path / "f"
    path.write_bytes(b"." * 100_000)
    with (
        subprocess.Popen(
            [sys.executable, "-c", SEES, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other,
        path.open("r+b") as file,
        mmap.mmap(file.fileno(), 0) as mapping,
    ):
        assert other.stdin is not None
        assert other.stdout is not None
        for number, offset in enumerate((0, 4094, 65_534, 99_995)):
            data = bytes([65 + number]) * 5
            mapping[offset : offset + 5] = data
            if number % 2:
                mapping.flush()
            print(offset, file=other.stdin, flush=True)
            assert bytes.fromhex(other.stdout.readline()) == data
            assert os.pread(file.fileno(), 5, offset) == data
        other.stdin.close()
    mount.remount()
    assert path.read_bytes()[4094:4099] == b"BBBBB"


def test_a_mapping_beyond_the_end_gives_a_signal_not_bytes(mount: MountedTree) -> None:
    path = mount.path / "f"
    path.write_bytes(b"." * 10_000)
    program = "import mmap,os,sys; f=open(sys.argv[1],'r+b'); m=mmap.mmap(f.fileno(),0); os.ftruncate(f.fileno(),10); m[9000]"
    assert subprocess.run([sys.executable, "-c", program, path], check=False).returncode == -7


def test_several_mounts_at_once(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        mounts = [
            stack.enter_context(mounted_tree(tmp_path / f"{number}", cipher))
            for number, cipher in enumerate(("aes-256-gcm", "aes-256-xts", "aes-256-gcm"))
        ]
        failures: list[object] = []

        def work(number: int) -> None:
            here, there = mounts[number].path, mounts[(number + 1) % 3].path
            for step in range(10):
                content = pattern(5000 * step + number)
                (here / f"{step}").write_bytes(content)
                shutil.copy(here / f"{step}", there / f"from {number}, {step}")
                if (there / f"from {number}, {step}").read_bytes() != content:
                    failures.append((number, step))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        mounts[1].tell("lock")
        assert outcome(lambda: os.listdir(mounts[1].path)) == "ENOKEY"
        assert len(os.listdir(mounts[0].path)) == len(os.listdir(mounts[2].path)) == 20
        assert (
            outcome(lambda: os.rename(mounts[0].path / "0", mounts[2].path / "x"))
            == errno.errorcode[errno.EXDEV]
        )
        mounts[1].tell("unlock")
        assert len(os.listdir(mounts[1].path)) == 20
