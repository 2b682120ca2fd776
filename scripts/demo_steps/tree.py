"""The real tree that the demo copies in, and the comparison of two trees."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NOT_THE_LIBRARY = shutil.ignore_patterns("site-packages", "dist-packages", "__pycache__", "config-*")
HOLE_BYTES = 20 << 20


ENTRIES_WANTED = 2_500


def make(target: Path) -> None:
    """The interpreter's standard library, and a directory with the rarer things a file system must keep."""
    copy_library(target)
    extras = target / "rarer things"
    extras.mkdir()
    _links(extras)
    _names(extras)
    _modes(extras)
    _sparse(extras / "sparse")


def copy_library(target: Path) -> None:
    """The interpreter's standard library.

    Debian's is split into packages; where less than some thousand entries are there, installed packages fill it up.
    """
    shutil.copytree(sysconfig.get_path("stdlib"), target, symlinks=True, ignore=NOT_THE_LIBRARY)
    for package in sorted(Path(sysconfig.get_path("purelib")).iterdir()):
        if sum(1 for _ in walk(target)) >= ENTRIES_WANTED:
            break
        if package.is_dir():
            copy = target / "site-packages" / package.name
            shutil.copytree(package, copy, symlinks=True, ignore=NOT_THE_LIBRARY)


def _links(directory: Path) -> None:
    (directory / "first name").write_text("one file with three names\n")
    (directory / "second name").hardlink_to(directory / "first name")
    (directory / "third name").hardlink_to(directory / "first name")
    (directory / "relative link").symlink_to("first name")
    (directory / "absolute link").symlink_to("/etc/hostname")
    (directory / "dangling link").symlink_to("no such file")
    (directory / "link to a directory").symlink_to("../json", target_is_directory=True)


def _names(directory: Path) -> None:
    for name in ("Größe – 大きさ", "n" * 255, "new\nline", "-dash", " blank ", "ends with a dot."):
        (directory / name).write_text(name)
    (directory / "empty").touch()
    (directory / "empty directory").mkdir()


def _modes(directory: Path) -> None:
    for mode in (0o400, 0o600, 0o640, 0o711, 0o755, 0o4755):
        path = directory / f"mode {mode:04o}"
        path.write_text(f"{mode:04o}\n")
        path.chmod(mode)
    closed = directory / "directory 2750"
    closed.mkdir()
    closed.chmod(0o2750)
    os.utime(directory / "mode 0600", ns=(86_400_000_000_001, 86_400_000_000_001))


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"data before the hole")
        file.seek(HOLE_BYTES, os.SEEK_CUR)
        file.write(b"data after the hole")


@dataclass(frozen=True)
class Entry:
    """What must be the same in both trees. Times in ns; of a symbolic link only its target counts."""

    kind: str
    mode: int
    size_bytes: int
    links: int
    modified_ns: int
    target: str


def entries(root: Path) -> dict[str, Entry]:
    """Everything below `root` by its relative name."""
    return {str(path.relative_to(root)): _entry(path) for path in walk(root)}


def walk(root: Path) -> Iterator[Path]:
    """Every entry below `root`, links not followed."""
    for directory, directories, files in os.walk(root):
        yield from (Path(directory) / name for name in directories + files)


def _entry(path: Path) -> Entry:
    found = path.lstat()
    kind = stat.filemode(found.st_mode)[0]
    if kind == "l":
        return Entry(kind, 0, 0, 1, 0, os.readlink(path))
    if kind == "d":  # the size and the link count of a directory are the file system's own affair
        return Entry(kind, stat.S_IMODE(found.st_mode), 0, 0, found.st_mtime_ns, "")
    return Entry(kind, stat.S_IMODE(found.st_mode), found.st_size, found.st_nlink, found.st_mtime_ns, "")


def differences(left: Path, right: Path) -> list[str]:
    """Differences in type, mode, size, link count, time and link target; empty if there are none."""
    ours, theirs = entries(left), entries(right)
    lines = [f"{name}: only on one side" for name in sorted(ours.keys() ^ theirs.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        if ours[name] != theirs[name]:
            lines.append(f"{name}: {ours[name]} became {theirs[name]}")
    return lines


def diff(left: Path, right: Path) -> str:
    """What `diff -r` prints: differences of contents; empty if there are none."""
    argv = ["diff", "-r", "-q", "--no-dereference", str(left), str(right)]
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
    return done.stdout + done.stderr


def size_bytes(root: Path) -> int:
    """Sum of the sizes of the regular files, each file counted once."""
    found = {(state.st_dev, state.st_ino): state for state in map(os.lstat, walk(root))}
    return sum(state.st_size for state in found.values() if stat.S_ISREG(state.st_mode))


def hole_bytes(root: Path) -> int:
    """Bytes that the sparsest file does not take on disk."""
    return max(state.st_size - state.st_blocks * 512 for state in map(os.lstat, walk(root)))
