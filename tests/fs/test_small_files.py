"""Files and directories of ours beside those of the user: over nothing, and their owner's from the first moment."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.direct_tree import DirectTree
from support.steps import watch

from phonevault.fs import small_files
from phonevault.fs.format import links, names
from phonevault.fs.small_files import make_directory

SOMEBODY = 65534


@pytest.fixture
def above(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture(params=["with flags", "without"])
def flags(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the backing store knows RENAME_NOREPLACE; one that does not is played by refusing it."""
    if request.param == "without":

        def refused(*_: object) -> None:
            raise OSError(errno.EINVAL, "no such flag")

        monkeypatch.setattr(small_files, "rename", refused)
    return bool(request.param == "with flags")


@pytest.mark.parametrize("taken_by", ["file", "link", "directory", "empty directory"])
def test_a_directory_is_made_over_nothing(above: int, tmp_path: Path, flags: bool, taken_by: str) -> None:
    make_directory("new", above)
    assert (tmp_path / "new").is_dir() and (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    taken = tmp_path / "taken"
    if taken_by == "file":
        taken.touch()
    elif taken_by == "link":
        taken.symlink_to("new")
    else:
        taken.mkdir()
        if taken_by == "directory":
            (taken / "inside").touch()
    before = taken.lstat()
    if taken_by == "empty directory" and not flags:
        make_directory("taken", above)  # as rename(2) does: nothing is lost
    else:
        with pytest.raises(FileExistsError):
            make_directory("taken", above)
        assert os.path.samestat(taken.lstat(), before)
    assert sorted(os.listdir(tmp_path)) == ["new", "taken"]


@pytest.mark.skipif(os.geteuid() != 0, reason="not applicable: only root makes something for others")
def test_what_root_makes_is_its_owners_when_it_has_its_name(tmp_path: Path) -> None:
    tree = DirectTree(tmp_path / "tree")
    os.chown(tmp_path / "tree", SOMEBODY, SOMEBODY)
    ours, seen = tmp_path / "tree" / links.DIRECTORY, 0

    def look(_: int) -> None:
        nonlocal seen
        for path in (ours, *ours.rglob("*")):
            if path.exists() and not path.name.startswith(names.TEMPORARY_PREFIX):
                seen += 1
                assert (path.stat().st_uid, path.stat().st_gid) == (SOMEBODY, SOMEBODY), path

    with pytest.MonkeyPatch.context() as patch:
        watch(patch, look)
        for name in (b"first", b"second"):
            tree.symlink(name, b"t" * 4000)
    look(0)
    assert seen > 10
