"""A program that changes files below argv[1] until the file system dies under it, then writes down what it may expect there.

argv: directory (exists), seed, where to write the expectation (outside the file system). Run it as a program, or import
:func:`check`.
"""

from __future__ import annotations

import os
import pickle
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path

from phonevault.fs.syscalls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, fallocate

MAX_BYTES = 400_000
FILES = 12


@dataclass
class Expected:
    """A regular file: its bytes when it was fsynced last, and what was done to it since."""

    acknowledged: bytes = b""
    shortest: int = 0
    longest: int = 0
    touched: list[tuple[int, int]] = field(default_factory=list)
    now: bytearray = field(default_factory=bytearray)

    def synced(self) -> None:
        self.acknowledged = bytes(self.now)
        self.shortest = self.longest = len(self.now)
        self.touched.clear()

    def write(self, offset: int, data: bytes) -> None:
        self.touched.append((offset, offset + len(data)))
        self.now.extend(bytes(max(0, offset - len(self.now))))
        self.now[offset : offset + len(data)] = data
        self.longest = max(self.longest, len(self.now))

    def resize(self, size: int) -> None:
        self.shortest = min(self.shortest, size)
        del self.now[size:]
        self.now.extend(bytes(size - len(self.now)))
        self.longest = max(self.longest, size)

    def problem(self, found: bytes) -> str:
        """Why this cannot be the file's content now, or nothing."""
        if not self.shortest <= len(found) <= self.longest:
            return f"{len(found)} bytes, not {self.shortest} … {self.longest}"
        keep = bytearray(b"\1" * min(self.shortest, len(self.acknowledged)))
        for low, high in self.touched:
            keep[low:high] = bytes(max(0, min(high, len(keep)) - low))
        for place, kept in enumerate(keep):
            if kept and found[place] != self.acknowledged[place]:
                return f"byte {place} of {len(found)} is not what was acknowledged"
        return ""


@dataclass
class Expectation:
    """What a load left.

    Attributes:
        files, links, folders: by name.
        unsure: names that the last, unanswered request was about.
        lost: files that were, or were to be, replaced or removed by it.
        requests: how many were answered.
    """

    files: dict[str, Expected] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    lost: list[Expected] = field(default_factory=list)
    requests: int = 0


class Load:
    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.random = random.Random(seed)
        self.expect = Expectation()
        self._count = 0

    def run(self) -> None:
        """Until a request fails."""
        steps = [
            (self.append, 6), (self.overwrite, 8), (self.big_write, 2), (self.resize, 5), (self.punch, 2), (self.sync, 8),
            (self.create, 3), (self.rename, 3), (self.unlink, 1), (self.folder, 2), (self.link, 1),
        ]  # fmt: skip
        choices, weights = [step for step, _ in steps], [weight for _, weight in steps]
        try:
            while True:
                self.random.choices(choices, weights)[0]()
                self.expect.unsure.clear()
                self.expect.lost.clear()
                self.expect.requests += 1
        except OSError:
            return

    # -- contents -----------------------------------------------------------------------------------------

    def _some(self) -> tuple[str, Expected]:
        if not self.expect.files:
            self.create()
            self.expect.unsure.clear()
        return self.random.choice(list(self.expect.files.items()))

    def _open(self, name: str) -> int:
        return os.open(self.directory / name, os.O_RDWR)

    def _write(self, offset: int, length: int, *, name: str = "") -> None:
        name, file = (name, self.expect.files[name]) if name else self._some()
        offset = min(offset if offset >= 0 else len(file.now), MAX_BYTES)
        data = self.random.randbytes(length)
        file.write(offset, data)
        fd = self._open(name)
        try:
            os.pwrite(fd, data, offset)
            if self.random.random() < 0.7:
                os.fdatasync(fd)
                file.synced()
        finally:
            os.close(fd)

    def append(self) -> None:
        self._write(-1, self.random.choice([1, 100, 4096, self.random.randrange(1, 20_000)]))

    def overwrite(self) -> None:
        if self.random.random() < 0.5:
            self._write(self.random.randrange(0, 40) * 4096, 4096)
        else:
            self._write(self.random.randrange(0, 100_000), self.random.randrange(1, 30_000))

    def big_write(self) -> None:
        self._write(self.random.randrange(0, 10_000), 300_000)

    def resize(self) -> None:
        name, file = self._some()
        size = max(0, len(file.now) + self.random.choice([-1, 1]) * self.random.randrange(0, 30_000))
        file.resize(min(size, MAX_BYTES))
        os.truncate(self.directory / name, min(size, MAX_BYTES))

    def punch(self) -> None:
        name, file = self._some()
        start, length = self.random.randrange(0, 60_000), self.random.randrange(1, 40_000)
        end = min(start + length, len(file.now))
        if start >= end:
            return
        file.write(start, bytes(end - start))
        fd = self._open(name)
        try:
            fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, start, end - start)
        finally:
            os.close(fd)

    def sync(self) -> None:
        name, file = self._some()
        fd = self._open(name)
        try:
            os.fsync(fd)
            file.synced()
        finally:
            os.close(fd)

    # -- names --------------------------------------------------------------------------------------------

    def _name(self, kind: str) -> str:
        self._count += 1
        name = f"{kind}{self._count}"
        return name if self.random.random() < 0.7 else name + "-" * self.random.randrange(180, 230)

    def create(self) -> None:
        if len(self.expect.files) >= FILES:
            return
        name = self._name("f")
        self.expect.unsure.add(name)
        os.close(os.open(self.directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        self.expect.files[name] = Expected()
        self._write(0, self.random.randrange(1, 50_000), name=name)

    def rename(self) -> None:
        """As editors do: a new file, fsynced, over the old one; or just another name."""
        (old, file), new = self._some(), self._name("f")
        if self.random.random() < 0.7:
            new = self.random.choice(list(self.expect.files))
        if new == old:
            return
        self.sync_one(old)
        self.expect.unsure |= {old, new}
        self.expect.lost += [file, *filter(None, [self.expect.files.get(new)])]
        os.rename(self.directory / old, self.directory / new)
        self.expect.files[new] = self.expect.files.pop(old)

    def sync_one(self, name: str) -> None:
        fd = self._open(name)
        try:
            os.fsync(fd)
            self.expect.files[name].synced()
        finally:
            os.close(fd)

    def unlink(self) -> None:
        if len(self.expect.files) < FILES // 2:
            return
        name, file = self._some()
        self.expect.unsure.add(name)
        self.expect.lost.append(file)
        os.unlink(self.directory / name)
        del self.expect.files[name]

    def folder(self) -> None:
        if len(self.expect.folders) > 4:
            name = self.random.choice(sorted(self.expect.folders))
            self.expect.unsure.add(name)
            os.rmdir(self.directory / name)
            self.expect.folders.remove(name)
            return
        name = self._name("d")
        self.expect.unsure.add(name)
        os.mkdir(self.directory / name)
        self.expect.folders.add(name)

    def link(self) -> None:
        if len(self.expect.links) > 4:
            name = self.random.choice(sorted(self.expect.links))
            self.expect.unsure.add(name)
            os.unlink(self.directory / name)
            del self.expect.links[name]
            return
        name, target = self._name("l"), "t" * self.random.randrange(1, 2000)
        self.expect.unsure.add(name)
        os.symlink(target, self.directory / name)
        self.expect.links[name] = target


def check(directory: Path, expect: Expectation) -> list[str]:
    """Everything that is not as it may be."""
    wrong = []
    there = {entry.name: entry for entry in os.scandir(directory)}
    sure = {*expect.files, *expect.links, *expect.folders} - expect.unsure
    wrong += [f"{name[:20]} is gone" for name in sure - there.keys()]
    wrong += [f"{name[:20]} should not be there" for name in there.keys() - sure - expect.unsure]
    for name, entry in there.items():
        try:
            if entry.is_symlink():
                target = os.readlink(directory / name)
                if target != expect.links.get(name, target):
                    wrong.append(f"{name[:20]} points elsewhere")
            elif entry.is_dir():
                wrong += [f"{name[:20]} is not empty"] if os.listdir(directory / name) else []
            else:
                wrong += _check_file(directory / name, expect)
        except OSError as error:
            wrong.append(f"{name[:20]}: {error.strerror}")
    return wrong


def _check_file(path: Path, expect: Expectation) -> list[str]:
    found = path.read_bytes()
    if path.name not in expect.unsure:
        candidates = [expect.files[path.name]]
    else:
        candidates = [*expect.lost, *filter(None, [expect.files.get(path.name)]), Expected()]
    problems = [candidate.problem(found) for candidate in candidates]
    return [] if "" in problems else [f"{path.name[:20]}: {problems[0]}"]


def main() -> None:
    load = Load(Path(sys.argv[1]), int(sys.argv[2]))
    load.run()
    Path(sys.argv[3]).write_bytes(pickle.dumps(load.expect))


if __name__ == "__main__":
    # Pickled under its importable name, whatever it was started as.
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from support.crash_load import main as run

    run()
