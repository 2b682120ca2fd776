"""Real programs on a real mount."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.mounted_tree import MountedTree
from support.needs import need_program

pytestmark = pytest.mark.mount


def run(*command: str, cwd: Path | None = None) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


def test_a_tree_comes_back_as_it_was(mount: MountedTree, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(Path(os.__file__).parent / "email", source, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "link").symlink_to("message.py")
    os.link(source / "message.py", source / "hard")
    (source / "message.py").chmod(0o640)
    (source / ("long" * 60)).write_text("a long name")
    (source / "empty").touch()
    (source / "dir" / "below").mkdir(parents=True)
    run("cp", "-a", f"{source}/.", str(mount.path))
    mount.remount()
    assert run("diff", "-r", "--no-dereference", str(source), str(mount.path)) == ""
    assert os.readlink(mount.path / "link") == "message.py"
    assert (mount.path / "hard").stat().st_ino == (mount.path / "message.py").stat().st_ino
    assert (mount.path / "message.py").stat().st_nlink == 2
    for path in source.rglob("*"):
        ours = (mount.path / path.relative_to(source)).lstat()
        theirs = path.lstat()
        assert (ours.st_mode, ours.st_uid, ours.st_mtime_ns) == (
            theirs.st_mode,
            theirs.st_uid,
            theirs.st_mtime_ns,
        )
        if not path.is_dir():
            assert ours.st_size == theirs.st_size


def test_the_ciphertext_shows_no_name_and_no_content(mount: MountedTree) -> None:
    (mount.path / "a-telling-name").write_text("a telling content" * 1000)
    mount.stop()
    for path in mount.tree.rglob("*"):
        assert "telling" not in str(path.relative_to(mount.tree))
        if path.is_file():
            assert b"telling" not in path.read_bytes()


def test_rename_and_remove(mount: MountedTree) -> None:
    top = mount.path
    (top / "a").mkdir()
    (top / "a" / "f").write_text("1")
    (top / "b").mkdir()
    os.rename(top / "a", top / "b")
    assert os.listdir(top) == ["b"]
    assert (top / "b" / "f").read_text() == "1"
    with pytest.raises(OSError) as caught:
        os.rmdir(top / "b")
    assert caught.value.errno == errno.ENOTEMPTY
    (top / ("x" * 255)).write_text("long")
    os.rename(top / ("x" * 255), top / ("y" * 255))
    assert (top / ("y" * 255)).read_text() == "long"
    (top / "short").write_text("short")
    os.rename(top / "short", top / ("y" * 255))
    assert (top / ("y" * 255)).read_text() == "short"
    shutil.rmtree(top / "b")
    (top / ("y" * 255)).unlink()
    assert os.listdir(top) == []
    assert os.listdir(mount.tree) == ["phonevault.dirid"]
    with pytest.raises(OSError) as caught:
        (top / ("z" * 256)).touch()
    assert caught.value.errno == errno.ENAMETOOLONG


def test_unlinked_open_file(mount: MountedTree) -> None:
    path = mount.path / "f"
    with path.open("w+b") as file:
        file.write(b"x" * 10000)
        file.flush()
        os.fsync(file.fileno())
        path.unlink()
        assert os.fstat(file.fileno()).st_nlink == 0
        file.seek(0)
        assert file.read() == b"x" * 10000
        (mount.path / "g").write_bytes(b"other")
        file.seek(0)
        assert file.read(1) == b"x"


def test_shared_mapping(mount: MountedTree) -> None:
    path = mount.path / "f"
    path.write_bytes(bytes(20000))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[5000:5005] = b"hello"
        mapping.flush()
    mount.remount()
    assert path.read_bytes()[5000:5005] == b"hello"


def test_attributes(mount: MountedTree) -> None:
    path = mount.path / "f"
    path.write_bytes(b"12345")
    path.chmod(0o4751 if os.geteuid() == 0 else 0o751)
    os.utime(path, ns=(1_000_000_001, 2_000_000_002))
    status = path.stat()
    assert (status.st_atime_ns, status.st_mtime_ns) == (1_000_000_001, 2_000_000_002)
    os.truncate(path, 3)
    assert path.read_bytes() == b"123"
    assert os.statvfs(mount.path).f_namemax == 255
    path.chmod(0o200)
    with path.open("ab") as file:
        file.write(b"4")
    path.chmod(0o400)
    assert path.read_bytes() == b"1234"
    assert stat.S_IMODE(path.stat().st_mode) == 0o400


def test_git_sqlite_rsync_tar_work_inside(mount: MountedTree, tmp_path: Path) -> None:
    for program in ("git", "rsync", "tar"):
        need_program(program)
    repository = mount.path / "repository"
    repository.mkdir()
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(repository)]
    run("git", "init", "-q", str(repository))
    shutil.copytree(Path(os.__file__).parent / "json", repository / "json")
    run(*git, "add", "-A")
    run(*git, "commit", "-qm", "first")
    run("git", "clone", "-q", str(repository), str(mount.path / "clone"))
    assert run(*git, "status", "--short") == ""
    assert run("git", "-C", str(repository), "fsck", "--strict") == ""
    with sqlite3.connect(mount.path / "db") as database:
        database.execute("create table t(a integer primary key, b text)")
        for number in range(50):
            database.execute("insert into t(b) values (?)", (str(number),))
            database.commit()
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    database.close()
    run("rsync", "-a", f"{repository}/", str(mount.path / "copy"))
    assert run("diff", "-r", str(repository), str(mount.path / "copy")) == ""
    run("tar", "-C", str(mount.path), "-cf", str(tmp_path / "all.tar"), "repository")
    (mount.path / "out").mkdir()
    run("tar", "-C", str(mount.path / "out"), "-xf", str(tmp_path / "all.tar"))
    assert run("diff", "-r", str(repository), str(mount.path / "out" / "repository")) == ""


def test_a_program_is_built_and_run_inside(mount: MountedTree) -> None:
    script = mount.path / "script"
    script.write_text(f"#!{sys.executable}\nprint('ran')\n")
    script.chmod(0o755)
    assert run(str(script)) == "ran\n"


def test_many_writers_at_once(mount: MountedTree) -> None:
    def work(number: int) -> None:
        for step in range(30):
            path = mount.path / f"{number}-{step}"
            path.write_bytes(bytes([number]) * (step * 500))
            os.rename(path, mount.path / f"done-{number}-{step}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mount.remount()
    assert len(os.listdir(mount.path)) == 120
    for number in range(1, 5):
        for step in range(30):
            assert (mount.path / f"done-{number}-{step}").read_bytes() == bytes([number]) * (step * 500)


def test_a_large_directory_lists_every_name_once(mount: MountedTree) -> None:
    expected = {f"file {number}" for number in range(3000)}
    for name in expected:
        (mount.path / name).touch()
    found = os.listdir(mount.path)
    assert len(found) == 3000
    assert set(found) == expected


def test_frozen_requests_wait_and_are_served_after(mount: MountedTree) -> None:
    path = mount.path / "f"
    path.write_text("text")
    mount.remount()
    mount.tell("freeze")
    answers: list[str] = []
    reader = threading.Thread(target=lambda: answers.append(path.read_text()))
    reader.start()
    reader.join(0.5)
    assert reader.is_alive()
    assert answers == []
    mount.tell("thaw")
    reader.join(10)
    assert answers == ["text"]


def test_a_waiting_program_can_be_killed(mount: MountedTree) -> None:
    (mount.path / "f").write_text("text")
    mount.remount()
    mount.tell("freeze")
    with subprocess.Popen(["cat", str(mount.path / "f")], stdout=subprocess.DEVNULL) as program:
        time.sleep(0.3)
        program.kill()
        program.wait(10)
    mount.tell("thaw")
    assert (mount.path / "f").read_text() == "text"


def test_lock_answers_enokey_and_keeps_what_was_written(mount: MountedTree) -> None:
    (mount.path / "dir").mkdir()
    path = mount.path / "dir" / "f"
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(handle, b"not yet on disk" * 5000)
    mount.tell("lock")
    for attempt in (
        lambda: os.pread(handle, 10, 0),
        lambda: path.read_bytes(),
        lambda: os.listdir(mount.path),
        lambda: os.stat(path),
        lambda: (mount.path / "new").touch(),
    ):
        with pytest.raises(OSError) as caught:
            attempt()
        assert caught.value.errno == errno.ENOKEY
    mount.tell("unlock")
    assert os.pread(handle, 15, 0) == b"not yet on disk"
    os.write(handle, b"more")
    os.close(handle)
    mount.remount()
    assert path.read_bytes() == b"not yet on disk" * 5000 + b"more"


def test_a_write_that_waits_reaches_the_disk_when_locked(mount: MountedTree) -> None:
    path = mount.path / "f"
    with path.open("wb", buffering=0) as file:
        file.write(b"a" * 100_000)
        os.fsync(file.fileno())
        mount.tell("freeze")
        file.write(b"b" * 100_000)
        mount.tell("lock")
        mount.tell("unlock")
    mount.remount()
    assert path.read_bytes() == b"a" * 100_000 + b"b" * 100_000


def test_kill_minus_nine_keeps_what_fsync_acknowledged(mount: MountedTree) -> None:
    for number in range(20):
        with (mount.path / f"f{number}").open("wb") as file:
            file.write(bytes([number]) * 9000)
            file.flush()
            os.fsync(file.fileno())
    mount.kill()
    mount.start()
    for number in range(20):
        assert (mount.path / f"f{number}").read_bytes() == bytes([number]) * 9000


def test_tampering_with_the_tree_is_eio_or_hidden_never_wrong_plaintext(mount: MountedTree) -> None:
    mount.damaged = True
    for name in ("one", "two"):
        (mount.path / name).mkdir()
        (mount.path / name / "f").write_text(name)
    mount.stop()
    first, second = (path for path in mount.tree.iterdir() if path.is_dir())
    (entry,) = (path for path in first.iterdir() if "dirid" not in path.name)
    shutil.copy(entry, second / entry.name)
    (first / "phonevault.dirid").write_bytes(b"short")
    mount.start()
    listings = []
    for name in ("one", "two"):
        try:
            listings.append(os.listdir(mount.path / name))
        except OSError as error:
            assert error.errno == errno.EIO
    assert listings == [["f"]]
