"""docs/threat-model.md 4, "Names and tree": each row done to the ciphertext between two mounts."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.sparse_files import outcome
from support.tampering import TamperedTree, flipped, rewrite, tampered_tree

from phonevault.fs.format.dirid import FILE_NAME
from phonevault.fs.format.names import LONG_SUFFIX

pytestmark = [pytest.mark.mount, pytest.mark.anyone]

LONG, LONGER = "l" * 200, "m" * 255


@pytest.fixture
def tree(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[TamperedTree]:
    with tampered_tree(tmp_path, "aes-256-gcm") as found:
        yield found
    assert "Traceback" not in capfd.readouterr().err


def seen(folder: Path) -> object:
    """The names of a directory, or the errno."""
    return outcome(lambda: sorted(os.listdir(folder)))


def all_below(folder: Path) -> set[str]:
    """Every path that a walk shows; what cannot be read is left out."""
    return {str(Path(top, name)) for top, below, rest in os.walk(folder) for name in below + rest}


def pair(tree: TamperedTree) -> tuple[Path, Path]:
    """Two directories with a file each, and long names."""
    for name in ("one", "two"):
        folder = tree.path / name
        folder.mkdir()
        (folder / "f").write_text(name)
        (folder / LONG).write_text("long " + name)
    return tree.path / "one", tree.path / "two"


def plant(path: Path, kind: str) -> None:
    """Put something that is no regular file in the place of a file or directory."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "link to nothing":
        path.symlink_to("nowhere")
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    elif kind == "empty":
        path.touch()
    elif kind == "noise":
        path.write_bytes(os.urandom(32))
    else:
        raise AssertionError(kind)


KINDS = ["fifo", "link", "link to nothing", "directory", "huge", "empty", "noise"]
if os.geteuid() == 0:
    KINDS.append("device")

# -- names ------------------------------------------------------------------------------------------------


def test_a_changed_name_is_not_shown(tree: TamperedTree) -> None:
    one, two = pair(tree)
    with tree.while_away() as stored:
        for name in ("one/f", "two"):
            path = stored(name)
            middle = len(path.name) // 2
            other = "A" if path.name[middle] != "A" else "B"
            path.rename(path.with_name(path.name[:middle] + other + path.name[middle + 1 :]))
    assert seen(one) == [LONG]
    assert not two.exists()
    assert outcome((one / "f").read_text) == "ENOENT"


def test_foreign_names_are_not_shown(tree: TamperedTree) -> None:
    one, _ = pair(tree)
    with tree.while_away() as stored:
        folder = stored("one")
        for name in (
            "plain",
            "f",
            "with.dot",
            "AAAA",
            "AAA=",
            "-" * 255,
            "phonevault.long.x",
            "phonevault.tmp.x",
            ".hidden",
        ):
            (folder / name).write_text("planted")
        entry = stored("one/f")
        for end in ("=", "A", "\n"):
            (folder / (entry.name + end)).write_text("planted")
    assert seen(one) == ["f", LONG]


def test_an_entry_moved_to_another_directory_is_not_shown(tree: TamperedTree) -> None:
    one, two = pair(tree)
    with tree.while_away() as stored:
        target = stored("two")
        stored("one/f").rename(target / stored("one/f").name)
        for end in ("", LONG_SUFFIX):
            path = stored("one/" + LONG)
            path.with_name(path.name + end).rename(target / (path.name + end))
    assert seen(one) == []
    assert seen(two) == ["f", LONG]
    assert (two / "f").read_text() == "two"
    assert (two / LONG).read_text() == "long two"


def test_entries_that_exchange_what_they_name(tree: TamperedTree) -> None:
    one, two = pair(tree)
    with tree.while_away() as stored:
        for left, right in (("one/f", "one/" + LONG), ("one", "two")):
            a, b = stored(left), stored(right)
            a.rename(a.with_name("between"))
            b.rename(a)
            a.with_name("between").rename(b)
    assert (two / "f").read_text() == "long one", "silent"
    assert (two / LONG).read_text() == "one", "silent"
    assert (one / "f").read_text() == "two", "silent"


def test_deleted_and_used_again(tree: TamperedTree) -> None:
    one, two = pair(tree)
    with tree.while_away() as stored:
        stored("one/f").unlink()
        shutil.rmtree(stored("two"))
    assert seen(one) == [LONG], "silent"
    assert not two.exists(), "silent"
    (one / "f").write_text("again")
    with tree.while_away() as stored:
        shutil.copy(stored("one/" + LONG), stored("one/f"))
    assert (one / "f").read_text() == "long one", "silent"


# -- long names -------------------------------------------------------------------------------------------


def test_something_else_in_the_place_of_a_long_names_sidecar(tree: TamperedTree) -> None:
    kinds = ["missing", *KINDS]
    for kind in kinds:
        (tree.path / kind).mkdir()
        (tree.path / kind / "f").write_text(kind)
        (tree.path / kind / LONG).write_text("long")
    with tree.while_away() as stored:
        for kind in kinds:
            entry = stored(f"{kind}/{LONG}")
            sidecar = entry.with_name(entry.name + LONG_SUFFIX)
            if kind == "missing":
                sidecar.unlink()
            else:
                plant(sidecar, kind)
    for kind in kinds:
        folder = tree.path / kind
        assert seen(folder) == ["f"], kind
        assert (folder / LONG).read_text() == "long", "who knows the name finds it"
        (folder / LONG).unlink()
        assert seen(folder) == ["f"], kind


def test_sidecars_exchanged_and_changed(tree: TamperedTree) -> None:
    one, two = pair(tree)
    (one / LONGER).write_text("longer")
    with tree.while_away() as stored:
        a, b, c = (stored(name) for name in ("one/" + LONG, "one/" + LONGER, "two/" + LONG))
        a, b, c = (path.with_name(path.name + LONG_SUFFIX) for path in (a, b, c))
        content = a.read_bytes()
        a.write_bytes(b.read_bytes())
        b.write_bytes(content)
        rewrite(c, flipped(7, 1))
    assert seen(one) == ["f"]
    assert seen(two) == ["f"]


# -- directories ------------------------------------------------------------------------------------------


def test_something_else_in_the_place_of_an_id_file(tree: TamperedTree) -> None:
    for kind in KINDS:
        (tree.path / kind).mkdir()
        (tree.path / kind / "f").write_text(kind)
    with tree.while_away() as stored:
        for kind in KINDS:
            plant(stored(kind) / FILE_NAME, kind)
    for kind in KINDS:
        folder = tree.path / kind
        assert seen(folder) == "EIO", kind
        assert outcome((folder / "f").read_text) == "EIO", kind
        assert outcome(lambda: (folder / "new").write_text("x")) == "EIO", kind  # noqa: B023
        assert outcome(folder.rmdir) in ("EIO", "ENOTEMPTY"), kind


def test_every_bit_and_length_of_an_id_file(tree: TamperedTree) -> None:
    changes: dict[str, Callable[[bytes], bytes]] = {
        f"bit of {place}": flipped(place, place % 8) for place in range(32)
    }
    changes |= {"short": lambda raw: raw[:-1], "long": lambda raw: raw + b"\0", "twice": lambda raw: raw * 2}
    for name in [*changes, "removed", "empty"]:
        (tree.path / name).mkdir()
        if name != "empty":
            (tree.path / name / "f").write_text(name)
    with tree.while_away() as stored:
        for name, change in changes.items():
            rewrite(stored(name) / FILE_NAME, change)
        for name in ("removed", "empty"):
            (stored(name) / FILE_NAME).unlink()
    for name in [*changes, "removed"]:
        assert seen(tree.path / name) == "EIO", name
    assert seen(tree.path / "empty") == [], "silent: it is empty as before"


def test_another_directorys_id(tree: TamperedTree) -> None:
    one, two = pair(tree)
    with tree.while_away() as stored:
        shutil.copy(stored("two") / FILE_NAME, stored("one") / FILE_NAME)
    assert seen(one) == [], "no name of it decrypts"
    assert outcome((one / "f").read_text) == "ENOENT"
    assert (two / "f").read_text() == "two"


def test_a_directory_copied_with_its_id(tree: TamperedTree) -> None:
    one, two = pair(tree)
    with tree.while_away() as stored:
        target = stored("two")
        shutil.rmtree(target)
        shutil.copytree(stored("one"), target)
    assert seen(two) == ["f", LONG], "silent"
    assert (two / "f").read_text() == (one / "f").read_text() == "one", "silent"


def test_the_roots_id_is_needed_to_mount(tree: TamperedTree, capfd: pytest.CaptureFixture[str]) -> None:
    pair(tree)
    tree.mount.stop()
    path = tree.mount.tree / FILE_NAME
    sound = path.read_bytes()
    for change in (flipped(3), flipped(31), lambda raw: raw[:-1], lambda raw: b""):
        rewrite(path, change)
        with pytest.raises(AssertionError):
            tree.mount.start()
        tree.mount.end_after_failed_start()
        path.write_bytes(sound)
    capfd.readouterr()
    tree.mount.start()
    assert (tree.path / "one" / "f").read_text() == "one"


# -- other objects ----------------------------------------------------------------------------------------


def test_something_else_in_the_place_of_a_file(tree: TamperedTree) -> None:
    kinds = [kind for kind in KINDS if kind not in ("huge", "empty", "noise")]
    for kind in kinds:
        (tree.path / kind).write_text("text")
    with tree.while_away() as stored:
        for kind in kinds:
            plant(stored(kind), kind)
    assert sorted(os.listdir(tree.path)) == sorted([*kinds, "untouched"])
    assert stat.S_ISFIFO((tree.path / "fifo").lstat().st_mode), "silent: a fifo, as the ciphertext says"
    assert seen(tree.path / "directory") == [], "silent: an empty directory"
    for kind in ("link", "link to nothing"):
        assert outcome(lambda: os.readlink(tree.path / kind)) == "EIO"  # noqa: B023
        assert outcome((tree.path / kind).read_text) == "EIO", "never followed"
    if "device" in kinds:
        assert stat.S_ISCHR((tree.path / "device").lstat().st_mode), "silent"


def test_something_else_in_the_place_of_a_directory(tree: TamperedTree) -> None:
    kinds = [kind for kind in KINDS if kind != "directory"]
    for kind in kinds:
        (tree.path / kind).mkdir()
        (tree.path / kind / "f").write_text(kind)
    with tree.while_away() as stored:
        for kind in kinds:
            plant(stored(kind), kind)
    for kind in kinds:
        assert outcome((tree.path / kind / "f").read_text) in ("ENOTDIR", "EIO"), kind
        assert outcome(lambda: (tree.path / kind / "new").write_text("x")) in ("ENOTDIR", "EIO")  # noqa: B023


def test_links(tree: TamperedTree) -> None:
    for name, target in (
        ("a", "untouched"),
        ("b", "nowhere"),
        ("c", "untouched"),
        ("d", "untouched"),
        ("e", "untouched"),
    ):
        (tree.path / name).symlink_to(target)
    with tree.while_away() as stored:
        targets = {name: os.readlink(stored(name)) for name in "abcde"}
        middle = len(targets["a"]) // 2
        other = "A" if targets["c"][middle] != "A" else "B"
        new = {"a": targets["b"], "b": targets["a"], "c": targets["c"][:middle] + other + targets["c"][middle + 1 :],
               "d": "/etc/passwd", "e": targets["e"][:-1]}  # fmt: skip
        for name, target in new.items():
            stored(name).unlink()
            stored(name).symlink_to(target)
    assert (tree.path / "b").read_bytes() == b"sound", "silent"
    assert os.readlink(tree.path / "a") == "nowhere", "silent"
    for name in "cde":
        assert outcome(lambda: os.readlink(tree.path / name)) == "EIO", name  # noqa: B023
        assert outcome((tree.path / name).read_bytes) == "EIO", name


def test_a_file_linked_to_another_ones_ciphertext(tree: TamperedTree) -> None:
    for name in ("a", "b"):
        (tree.path / name).write_text(name)
    with tree.while_away() as stored:
        stored("a").unlink()
        os.link(stored("b"), stored("a"))
    assert (tree.path / "a").read_text() == "b", "silent"
    (tree.path / "a").write_text("both")
    assert (tree.path / "b").read_text() == "both"
    assert (tree.path / "a").stat().st_nlink == 2


def test_mode_and_times_are_those_of_the_ciphertext(tree: TamperedTree) -> None:
    (tree.path / "f").write_text("text")
    with tree.while_away() as stored:
        stored("f").chmod(0o751)
        os.utime(stored("f"), ns=(10**9, 2 * 10**9))
    status = (tree.path / "f").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o751, 2 * 10**9), "silent"


def test_a_tree_of_noise_shows_nothing_and_ends_nothing(tree: TamperedTree) -> None:
    pair(tree)
    before = all_below(tree.path)
    with tree.while_away() as stored:
        for number, path in enumerate(sorted(stored("one").iterdir())):
            rewrite(path, flipped(number)) if path.is_file() else None
        for number in range(30):
            (tree.mount.tree / os.urandom(20).hex()).write_bytes(os.urandom(100))
            (stored("two") / ("phonevault.long." + "x" * number)).mkdir()
    assert all_below(tree.path) <= before
