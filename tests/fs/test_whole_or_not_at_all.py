"""Every change of the tree, ended before each of its system calls in turn, and each of its system calls failing in turn.

What is counted is the calls of ``os`` that change something, and renameat2; kill -9 is a child that ends there and then.
"""

from __future__ import annotations

import errno
import gc
import os
import stat
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from support.direct_tree import DirectTree
from support.steps import killed_before, watch

from phonevault.fs import creation, sidecars, small_files
from phonevault.fs.acl import Entry, Tag, pack
from phonevault.fs.core import Core
from phonevault.fs.format import links, names
from phonevault.fs.requests import renames
from phonevault.fs.small_files import exists
from phonevault.fs.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE

L, M = b"l" * 200, b"m" * 255
"""Long names: with a sidecar."""
TARGET = b"t" * 4000
"""A link's target that needs a sidecar."""
Operation = Callable[[DirectTree], object]


def nothing(tree: DirectTree) -> None:
    del tree


def files(*made: bytes) -> Operation:
    def prepare(tree: DirectTree) -> None:
        for number, name in enumerate(made):
            tree.create(name, 0o600 + number)

    return prepare


def folders(*made: bytes) -> Operation:
    def prepare(tree: DirectTree) -> None:
        for number, name in enumerate(made):
            tree.mkdir(name, 0o700 + number)

    return prepare


def full_and_empty(old: bytes, new: bytes) -> Operation:
    def prepare(tree: DirectTree) -> None:
        number = tree.mkdir(old, 0o701)
        tree.create(M, 0o604, number)
        tree.create(b"inside", 0o605, number)
        tree.mkdir(new, 0o702)

    return prepare


def long_links(*made: bytes) -> Operation:
    def prepare(tree: DirectTree) -> None:
        for name in made:
            tree.symlink(name, TARGET)

    return prepare


def with_default_list(tree: DirectTree) -> None:
    entries = [
        Entry(Tag.USER_OBJ, 7),
        Entry(Tag.USER, 5, 60_001),
        Entry(Tag.GROUP_OBJ, 0),
        Entry(Tag.MASK, 7),
    ]
    tree.set_default_list(pack([*entries, Entry(Tag.OTHER, 0)]))


def as_nobody(change: Operation) -> Operation:
    def changed(tree: DirectTree) -> None:
        tree.uid = tree.gid = 65534
        change(tree)

    return changed


OPERATIONS: dict[str, tuple[Operation, Operation]] = {
    "create": (nothing, lambda tree: tree.create(b"f")),
    "create, long": (nothing, lambda tree: tree.create(L)),
    "create, for another": (nothing, as_nobody(lambda tree: tree.create(L, 0o6755))),
    "mkdir": (nothing, lambda tree: tree.mkdir(b"d")),
    "mkdir, long": (nothing, lambda tree: tree.mkdir(L)),
    "mkdir, for another": (nothing, as_nobody(lambda tree: tree.mkdir(L, 0o2755))),
    "mknod": (nothing, lambda tree: tree.mknod(L, stat.S_IFIFO | 0o600)),
    "mknod, for another": (nothing, as_nobody(lambda tree: tree.mknod(L, stat.S_IFIFO | 0o600))),
    "symlink": (nothing, lambda tree: tree.symlink(L, b"target")),
    "symlink, for another": (nothing, as_nobody(lambda tree: tree.symlink(L, b"target"))),
    "symlink, long target": (nothing, lambda tree: tree.symlink(L, TARGET)),
    "symlink, a second long target": (long_links(b"a"), lambda tree: tree.symlink(b"b", TARGET)),
    "symlink, long target, for another": (nothing, as_nobody(lambda tree: tree.symlink(b"s", TARGET))),
    "link to a link with a long target": (long_links(b"a"), lambda tree: tree.link(tree.find(b"a"), b"b")),
    "unlink, long target": (long_links(b"a", b"b"), lambda tree: tree.unlink(b"a")),
    "rename over a long target": (long_links(b"a", b"b"), lambda tree: tree.rename(b"a", b"b")),
    "create, default list": (with_default_list, lambda tree: tree.create(b"f", 0o660)),
    "mkdir, default list": (with_default_list, lambda tree: tree.mkdir(b"d", 0o770)),
    "mknod, default list, for another": (
        with_default_list,
        as_nobody(lambda tree: tree.mknod(L, stat.S_IFIFO | 0o660)),
    ),
    "link": (files(b"f"), lambda tree: tree.link(tree.find(b"f"), L)),
    "unlink": (files(L), lambda tree: tree.unlink(L)),
    "rmdir": (folders(b"d"), lambda tree: tree.rmdir(b"d")),
    "rmdir, long": (folders(L), lambda tree: tree.rmdir(L)),
    "rename to long": (files(b"f"), lambda tree: tree.rename(b"f", L)),
    "rename from long": (files(L), lambda tree: tree.rename(L, b"f")),
    "rename long over long": (files(L, M), lambda tree: tree.rename(L, M)),
    "rename, nothing replaced": (files(L), lambda tree: tree.rename(L, M, RENAME_NOREPLACE)),
    "rename a directory over an empty one": (
        full_and_empty(b"a", b"b"),
        lambda tree: tree.rename(b"a", b"b"),
    ),
    "the same, both long": (full_and_empty(L, M), lambda tree: tree.rename(L, M)),
    "exchange, long and short": (full_and_empty(L, b"b"), lambda tree: tree.rename(L, b"b", RENAME_EXCHANGE)),
    "exchange, both long": (files(L, M), lambda tree: tree.rename(L, M, RENAME_EXCHANGE)),
}


def prepared(tree: Path, prepare: Operation) -> None:
    prepare(DirectTree(tree))


def copied(source: Path, target: Path) -> Path:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
    return target


def died_at(step: int, tree: Path, change: Operation) -> bool:
    """Whether the child came to that step."""
    direct = partial(DirectTree, tree)
    return killed_before(step, lambda: change(direct()))


def check_ciphertext(tree: Path, *, leftovers: bool) -> None:
    """Each directory has its id, unless it is empty; each long entry its sidecar; what was interrupted left nothing visible."""
    for directory, below, found in os.walk(tree):
        below[:] = [
            name for name in below if not name.startswith(names.TEMPORARY_PREFIX) and name != links.DIRECTORY
        ]
        everything = [name for name in os.listdir(directory) if name != links.DIRECTORY]
        entries = [name for name in everything if names.is_entry(name)]
        assert "phonevault.dirid" in found or not entries
        for name in entries:
            assert not names.is_long(name) or name + names.LONG_SUFFIX in found
        if not leftovers:
            expected = {name + names.LONG_SUFFIX for name in entries if names.is_long(name)}
            assert set(everything) == {*entries, *expected, "phonevault.dirid"}
    check_links(tree, leftovers=leftovers)


def check_links(tree: Path, *, leftovers: bool) -> None:
    """Each link that needs a sidecar has it; and without leftovers no sidecar is there without a link."""
    texts = [str(path.readlink()) for path in tree.rglob("*") if path.is_symlink()]
    wanted = {links.parse(text).sidecar for text in texts if links.is_long(text)}
    directory = tree / links.DIRECTORY
    found = set(os.listdir(directory)) if directory.exists() else set()
    assert wanted <= found if leftovers else wanted == found


@pytest.mark.parametrize("kind", OPERATIONS)
def test_killed_before_each_step(tmp_path: Path, kind: str) -> None:
    prepare, change = OPERATIONS[kind]
    if "for another" in kind and os.geteuid() != 0:
        pytest.skip("not applicable: only root makes objects for others")
    prepared(tmp_path / "before", prepare)
    done = copied(tmp_path / "before", tmp_path / "after")
    assert not died_at(0, done, change)
    before, after = (DirectTree(tmp_path / name).view() for name in ("before", "after"))
    assert before != after
    check_ciphertext(done, leftovers=False)
    step, seen = 1, set()
    while died_at(step, tree := copied(tmp_path / "before", tmp_path / str(step)), change):
        check_ciphertext(tree, leftovers=True)
        found = DirectTree(tree)
        view = found.view()
        assert view in (before, after), f"killed before step {step}"
        seen.add(view == after)
        usable(found)
        check_ciphertext(tree, leftovers=True)
        step += 1
    assert step > 1
    assert False in seen, "there was a step before the change"


def usable(tree: DirectTree) -> None:
    """A long name can be made in every directory, the change can be undone by hand, and everything removed."""
    for path, (mode, *_) in sorted(tree.view().items(), reverse=True):
        *above, name = path.split(b"/")[1:]
        parent = 1
        for part in above:
            parent = tree.find(part, parent)
        if stat.S_ISDIR(mode):
            inside = tree.find(name, parent)
            tree.create(b"n" * 255, parent=inside)
            assert tree.listing(inside) == [b"n" * 255]
            tree.unlink(b"n" * 255, inside)
            tree.rmdir(name, parent)
        else:
            tree.unlink(name, parent)
    assert tree.view() == {}


@pytest.mark.parametrize("kind", OPERATIONS)
def test_each_step_failing(tmp_path: Path, kind: str) -> None:
    prepare, change = OPERATIONS[kind]
    if "for another" in kind and os.geteuid() != 0:
        pytest.skip("not applicable: only root makes objects for others")
    prepared(tmp_path / "before", prepare)
    before = DirectTree(tmp_path / "before").view()
    step, failures = 1, 0
    while True:
        tree = copied(tmp_path / "before", tmp_path / str(step))
        direct = DirectTree(tree)
        reached, failed = fails_at(step, direct, change)
        if not reached:
            break
        view = DirectTree(tree).view()
        assert view == direct.view()
        if failed:
            failures += 1
            assert view == before, f"step {step} failed"
            check_ciphertext(tree, leftovers=False)
        else:
            assert view != before
        step += 1
    assert failures


def fails_at(step: int, tree: DirectTree, change: Operation) -> tuple[bool, bool]:
    """Whether the step was reached, and whether the change failed; no descriptor may be left in that case."""
    reached = False

    def moment(number: int) -> None:
        nonlocal reached
        if number == step:
            reached = True
            raise OSError(errno.EDQUOT, "quota")

    tree.view()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.MonkeyPatch.context() as patch:
        watch(patch, moment)
        try:
            change(tree)
        except OSError as error:
            assert error.errno == errno.EDQUOT
        else:
            return reached, False
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    return reached, True


# -- another host removes a sidecar at the worst moment, and it cannot be made again ---------------------------


def without_its_sidecar(patch: pytest.MonkeyPatch) -> None:
    """The sidecar is gone when it is looked at again, after the object came into place; and the disk is full."""
    put, made = sidecars.put_durably, []

    def gone(name: str, directory_fd: int) -> bool:
        if made and name.endswith(names.LONG_SUFFIX):
            os.unlink(name, dir_fd=directory_fd)
            return False
        return exists(name, directory_fd)

    def once(
        name: str, data: bytes, directory_fd: int, *, replace: bool, like: os.stat_result | None = None
    ) -> None:
        if made:
            raise OSError(errno.ENOSPC, "full")
        made.append(name)
        put(name, data, directory_fd, replace=replace, like=like)

    patch.setattr(sidecars, "exists", gone)
    patch.setattr(sidecars, "put_durably", once)


@pytest.mark.parametrize(
    "kind",
    ["create, long", "create, for another", "mkdir, long", "mkdir, for another", "mknod", "symlink", "symlink, for another"],
)  # fmt: skip
def test_what_has_lost_its_sidecar_while_it_was_made_is_not_left_nor_held(tmp_path: Path, kind: str) -> None:
    if "for another" in kind and os.geteuid() != 0:
        pytest.skip("not applicable: only root makes objects for others")
    tree = DirectTree(tmp_path / "tree")
    before = tree.view()
    gc.collect()
    held = len(os.listdir("/proc/self/fd"))
    with pytest.MonkeyPatch.context() as patch:
        without_its_sidecar(patch)
        with pytest.raises(OSError, match="full"):
            OPERATIONS[kind][1](tree)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == held
    assert tree.view() == before
    check_ciphertext(tmp_path / "tree", leftovers=False)


# -- a backing store that knows no RENAME_NOREPLACE (NFS), played by refusing the flag -----------------------


@pytest.fixture
def plain_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DirectTree:
    def refused(source_fd: int, source: str, target_fd: int, target: str, flags: int) -> None:
        if flags:
            raise OSError(errno.EINVAL, "no such flag")
        os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)

    for module in (creation, renames, small_files):
        monkeypatch.setattr(module, "rename", refused)
    # Everything is made under a temporary name then.
    monkeypatch.setattr(Core, "owns", lambda *_: False)
    monkeypatch.setattr(os, "chown", lambda *_: None)
    return DirectTree(tmp_path / "tree")


def test_without_rename_flags_everything_can_be_made_and_replaced(
    plain_store: DirectTree, tmp_path: Path
) -> None:
    tree = plain_store
    for name in (b"short", L):
        tree.create(name)
        tree.unlink(name)
        tree.symlink(name, b"target")
        tree.unlink(name)
        tree.mknod(name, stat.S_IFIFO | 0o600)
        tree.unlink(name)
        tree.mkdir(name)
        tree.create(b"inside", parent=tree.find(name))
        tree.mkdir(M)
        tree.rename(name, M)
        assert tree.listing(tree.find(M)) == [b"inside"]
        tree.unlink(b"inside", tree.find(M))
        tree.rmdir(M)
        check_ciphertext(tmp_path / "tree", leftovers=False)
    assert tree.listing() == []


@pytest.mark.parametrize("there", ["file", "directory", "full directory"])
def test_without_rename_flags_nothing_is_replaced_by_what_is_made(
    plain_store: DirectTree, tmp_path: Path, there: str
) -> None:
    tree = plain_store
    if there == "file":
        tree.create(L, 0o604)
    else:
        tree.mkdir(L, 0o704)
    if there == "full directory":
        tree.create(b"inside", parent=tree.find(L))
    before = tree.view()
    for make in (
        lambda: tree.mkdir(L),
        lambda: tree.symlink(L, b"x"),
        lambda: tree.mknod(L, stat.S_IFIFO | 0o600),
    ):
        with pytest.raises(FileExistsError):
            make()
        assert tree.view() == before
    check_ciphertext(tmp_path / "tree", leftovers=False)


@pytest.mark.parametrize("change", ["rmdir", "rename"])
def test_a_directory_whose_id_could_not_be_put_back_gets_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The removal is refused, then there is no room. What is made in it later must not rest on an id that is only remembered."""
    tree = DirectTree(tmp_path / "tree")
    kept = tree.mkdir(b"kept")
    tree.mkdir(b"other")
    real_write = os.write

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "refused")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, change, refused)
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(PermissionError):
        if change == "rmdir":
            tree.rmdir(b"kept")
        else:
            tree.rename(b"other", b"kept")
    monkeypatch.undo()
    assert os.write is real_write
    tree.create(b"file", parent=kept)
    again = DirectTree(tmp_path / "tree")
    assert again.listing(again.find(b"kept")) == [b"file"]
