"""Symbolic links with targets of every length that Linux allows."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.answers import answer
from support.mounted_tree import MountedTree, mounted_tree

from phonevault.fs.errors import LinkDamaged
from phonevault.fs.format import links
from phonevault.fs.format.links import LongLink, is_long, parse, target_size, text_chars
from phonevault.fs.keys import TreeKeys

LONG = st.integers(links.SHORT_MAX_BYTES + 1, links.TARGET_MAX_BYTES)


# -- the format -------------------------------------------------------------------------------------------


@given(st.integers(1, links.TARGET_MAX_BYTES))
def test_the_length_of_a_text_tells_the_size_of_its_target(size: int) -> None:
    assert target_size(text_chars(size)) == size
    assert (text_chars(size) <= links.TARGET_MAX_BYTES) == (size <= links.SHORT_MAX_BYTES)


def test_a_sealed_target_is_not_taken_for_a_long_one(keys: TreeKeys) -> None:
    for size in range(1, 60):
        text = keys.seal_target(b"x" * size)
        assert not is_long(text)
        assert len(text) == text_chars(size) > len(LongLink.new(b"").text)


@given(LONG, st.binary(min_size=16, max_size=16))
def test_a_long_links_text_comes_back(size: int, number: bytes) -> None:
    link = LongLink(number, size)
    assert parse(link.text) == link
    assert is_long(link.text)
    assert "." not in link.sidecar and "/" not in link.sidecar


@pytest.mark.parametrize(
    "text",
    ["", ".", "A" * 24, "." + "A" * 23, "." + "A" * 25, "." + "=" * 24, ".." + "A" * 23, "." + "\udcff" * 24,
     LongLink(bytes(16), 3043).text, LongLink(bytes(16), 4096).text, LongLink(bytes(16), 0).text],
)  # fmt: skip
def test_hostile_texts(text: str) -> None:
    with pytest.raises(LinkDamaged):
        parse(text)


@given(size=LONG, spot=st.integers(0, 5000), bit=st.integers(0, 7))
def test_a_changed_sidecar_does_not_open(keys: TreeKeys, size: int, spot: int, bit: int) -> None:
    link = LongLink.new(bytes(size))
    raw = bytearray(keys.seal_long_target(link, bytes(size)))
    assert keys.open_long_target(link, bytes(raw)) == bytes(size)
    for other in (LongLink.new(bytes(size)), LongLink(link.id, size % 1000 + 3044)):
        if other != link:
            with pytest.raises(LinkDamaged):
                keys.open_long_target(other, bytes(raw))
    raw[spot % len(raw)] ^= 1 << bit
    for changed in (bytes(raw), bytes(raw[: spot % len(raw)]), b""):
        with pytest.raises(LinkDamaged):
            keys.open_long_target(link, changed)


# -- on a mount -------------------------------------------------------------------------------------------


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[MountedTree]:
    with mounted_tree(tmp_path) as tree:
        yield tree


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[MountedTree]:
    """The kernel keeps nothing of the ciphertext."""
    with mounted_tree(tmp_path, "aes-256-gcm", "shared") as tree:
        yield tree


def target_of(size: int) -> str:
    return ("../" + "long/" * 900)[:size]


def sidecars(mount: MountedTree) -> list[Path]:
    directory = mount.tree / links.DIRECTORY
    return sorted(directory.iterdir()) if directory.exists() else []


@pytest.mark.mount
@pytest.mark.anyone
def test_targets_of_every_length(mount: MountedTree) -> None:
    sizes = (1, 3042, 3043, 3044, 3045, 4000, 4094, 4095)
    for size in sizes:
        os.symlink(target_of(size), mount.path / str(size))
    assert len(sidecars(mount)) == 5
    assert answer(os.symlink, "x" * 4096, mount.path / "longer") == "ENAMETOOLONG"
    for _ in range(2):
        with os.scandir(mount.path) as entries:
            listed = {entry.name: entry.stat(follow_symlinks=False).st_size for entry in entries}
        assert listed == {str(size): size for size in sizes}
        for size in sizes:
            path = mount.path / str(size)
            assert os.readlink(path) == target_of(size)
            assert path.lstat().st_size == size
        mount.remount()


@pytest.mark.mount
@pytest.mark.anyone
def test_the_sidecar_goes_with_the_last_name(mount: MountedTree) -> None:
    one, two, other = (mount.path / name for name in ("one", "two", "other"))
    os.symlink(target_of(4000), one)
    os.link(one, two, follow_symlinks=False)
    os.symlink(target_of(3500), other)
    one.unlink()
    assert (os.readlink(two), two.lstat().st_nlink, len(sidecars(mount))) == (target_of(4000), 1, 2)
    os.rename(other, two)
    assert (os.readlink(two), len(sidecars(mount))) == (target_of(3500), 1)
    two.unlink()
    assert sidecars(mount) == []


@pytest.mark.mount
@pytest.mark.anyone
def test_a_link_held_without_a_name_still_tells_its_target(shared: MountedTree) -> None:
    for replaced in (False, True):
        path = shared.path / "link"
        os.symlink(target_of(4000), path)
        held = os.open(path, os.O_PATH | os.O_NOFOLLOW)
        if replaced:
            (shared.path / "new").touch()
            os.rename(shared.path / "new", path)
        else:
            path.unlink()
        assert sidecars(shared) == []
        assert os.readlink("", dir_fd=held) == target_of(4000)
        assert os.fstat(held).st_size == 4000
        os.close(held)


@pytest.mark.mount
@pytest.mark.anyone
def test_hostile_sidecars_are_input_output_errors(shared: MountedTree) -> None:
    mount = shared
    mount.damaged = True
    for number in range(2):
        os.symlink(target_of(4000), mount.path / str(number))
    first, second = sidecars(mount)
    kept = first.read_bytes()

    def fifo() -> None:
        first.unlink()
        os.mkfifo(first)

    changes: list[Callable[[], object]] = [
        lambda: first.write_bytes(second.read_bytes()),
        lambda: first.write_bytes(kept[:-1]),
        lambda: first.write_bytes(kept + b"x"),
        lambda: first.write_bytes(kept + bytes(1 << 20)),
        first.unlink,
        lambda: first.symlink_to(second),
        fifo,
        first.unlink,
        first.mkdir,
    ]
    for change in changes:
        change()
        answers = [answer(os.readlink, mount.path / str(number)) for number in range(2)]
        assert sorted(answers) == [target_of(4000), "EIO"]
        assert [(mount.path / str(number)).lstat().st_size for number in range(2)] == [4000, 4000]
    (mount.tree / links.DIRECTORY).rename(mount.base / "elsewhere")
    (mount.tree / links.DIRECTORY).symlink_to(mount.base / "elsewhere")
    assert [answer(os.readlink, mount.path / str(number)) for number in range(2)] == ["EIO", "EIO"]
    assert answer(os.symlink, target_of(4000), mount.path / "new") == "EIO"


@pytest.mark.mount
@pytest.mark.anyone
def test_a_damaged_text_hides_nothing_else(mount: MountedTree) -> None:
    mount.damaged = True
    os.symlink(target_of(4000), mount.path / "link")
    (stored,) = (path for path in mount.tree.iterdir() if path.is_symlink())
    stored.unlink()
    stored.symlink_to("." + "A" * 24)
    mount.remount()
    assert stat.S_ISLNK((mount.path / "link").lstat().st_mode)
    assert answer(os.readlink, mount.path / "link") == "EIO"
    (mount.path / "link").unlink()
    assert os.listdir(mount.path) == []


@pytest.mark.mount
@pytest.mark.anyone
def test_nothing_of_the_target_shows(mount: MountedTree) -> None:
    os.symlink("telling/" * 500, mount.path / "link")
    (sidecar,) = sidecars(mount)
    assert b"telling" not in sidecar.read_bytes()
    assert (stat.S_IMODE(sidecar.stat().st_mode), stat.S_IMODE(sidecar.parent.stat().st_mode)) == (
        0o600,
        0o700,
    )
    assert os.listdir(mount.path) == ["link"]
