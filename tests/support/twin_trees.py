"""The same operations on a mount and on a plain directory of the same store, step by step: every answer must be the same."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from support.mounted_tree import MountedTree
from support.twin_worlds import OPERATIONS, Step, World, common_status, furnish, outcome

KEPT = 5
"""One tree of so many stays until the end."""


class TwinTrees:
    """The mount and the plain directory; each run has a directory of its own in both."""

    def __init__(self, mount: MountedTree, plain: Path) -> None:
        self.mount = mount
        self.plain = plain
        self._number = 0
        plain.mkdir()

    def run(self, steps: list[Step]) -> None:
        self._number += 1
        roots = [folder / str(self._number) for folder in (self.plain, self.mount.path)]
        worlds = [World(os.fsencode(root), plain=root == roots[0]) for root in roots]
        for world in worlds:
            furnish(world)
        try:
            for number, (name, arguments) in enumerate(steps):
                self._step(worlds, number, name, arguments)
            self._compare(worlds)
            for world in worlds:
                world.close_all()
            self.mount.tell("lock")
            self.mount.tell("unlock")
            self._compare(worlds)
        finally:
            for world in worlds:
                world.close_all()
        if self._number % KEPT:
            for root in roots:
                shutil.rmtree(root)

    def compare_after_a_remount(self) -> None:
        """The trees that were kept."""
        self.mount.remount()
        self._compare([World(os.fsencode(folder), plain=False) for folder in (self.plain, self.mount.path)])

    def _step(self, worlds: list[World], number: int, name: str, arguments: tuple[object, ...]) -> None:
        if name == "lock":
            self.mount.tell("lock")
            self.mount.tell("unlock")
            return
        if name == "remount":
            for world in worlds:
                world.close_all()
            self.mount.remount()
            return
        told = f"step {number}: {name}{arguments}"
        function = OPERATIONS[name]
        results = [outcome(lambda: function(world, *arguments)) for world in worlds]  # noqa: B023
        assert results[0] == results[1], told
        assert self._seen(worlds[0], arguments) == self._seen(worlds[1], arguments), told

    @staticmethod
    def _seen(world: World, arguments: tuple[object, ...]) -> list[object]:
        """Status of every open handle, and of each name of the step and its directory."""
        found: list[object] = [common_status(os.fstat(fd)) for fd in world.handles]
        for name in arguments:
            if isinstance(name, bytes):
                for path in (world.path(name), os.path.dirname(world.path(name))):
                    found.append(outcome(lambda: common_status(os.lstat(path))))  # noqa: B023
        return found

    @staticmethod
    def _compare(worlds: list[World]) -> None:
        left, right = (picture(world.root) for world in worlds)
        assert left.keys() == right.keys()
        for name in left:
            assert left[name] == right[name], name


def picture(root: bytes) -> dict[bytes, object]:
    """Every object below a directory: status, contents, target, and which names are one object."""
    found: dict[bytes, object] = {}
    first: dict[int, bytes] = {}
    for folder, below, rest in os.walk(root):
        for name in sorted(below + rest):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            content: object = None
            if stat.S_ISREG(status.st_mode):
                content = read_whole(path)
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            relative = os.path.relpath(path, root)
            same = first.setdefault(status.st_ino, relative)
            found[relative] = (common_status(status), content, same)
    return found


def read_whole(path: bytes) -> bytes:
    """Contents; what is told to be a hole must be zeros."""
    with open(path, "rb") as file:
        content = file.read()
        place = 0
        while place < len(content):
            hole = os.lseek(file.fileno(), place, os.SEEK_HOLE)
            end = outcome(lambda: os.lseek(file.fileno(), hole, os.SEEK_DATA))  # noqa: B023
            place = end if isinstance(end, int) else len(content)
            assert not any(content[hole:place]), "data was told to be a hole"
    return content
