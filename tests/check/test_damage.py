"""Each kind of damage by itself: what the checker says, what a repair does, and that a second check finds only what is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from check.ciphertext import CIPHERS, LONG, Ciphertext
from support.checking import check, check_keys, problems

from phonevault.check.findings import KINDS, Code
from phonevault.fs.format import dirid, links, names
from phonevault.fs.format.xattrs import USER_PREFIX

TEMPORARY = "phonevault.tmp.0123456789abcdef"


def flip(path: Path, offset: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 1
    path.write_bytes(raw)


def truncate(path: Path, change: int) -> None:
    os.truncate(path, path.stat().st_size + change)


def rename(path: Path, name: str) -> None:
    path.rename(path.with_name(name))


def zero(path: Path, offset: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(length))


def replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def sidecar(made: Ciphertext, path: bytes) -> Path:
    stored = made.stored(path)
    return stored.with_name(stored.name + names.LONG_SUFFIX)


def damage_name(made: Ciphertext) -> None:
    stored = made.stored(b"folder/blocks")
    rename(stored, ("A" if stored.name[0] != "A" else "B") + stored.name[1:])


def copy_directory(made: Ciphertext) -> None:
    shutil.copytree(made.stored(b"folder/deep"), made.name_for(b"copy"))


def give_id_of_another(made: Ciphertext) -> None:
    made.mkdir(b"new")
    shutil.copy(made.tree / dirid.FILE_NAME, made.stored(b"new") / dirid.FILE_NAME)


def full_leftover(made: Ciphertext) -> None:
    made.stored(b"folder").rename(made.tree / TEMPORARY)


def leftover_directory(made: Ciphertext) -> None:
    made.mkdir(b"new")
    made.stored(b"new").rename(made.tree / TEMPORARY)


def swap_epoch(made: Ciphertext) -> None:
    path = made.stored(b"blocks")
    raw = bytearray(path.read_bytes())
    raw[8] = 2
    path.write_bytes(raw)


@dataclass(frozen=True)
class Damage:
    """One kind: how it is done, what is found, and whether a repair leaves nothing of it."""

    name: str
    do: Callable[[Ciphertext], object]
    codes: set[Code]
    mended: bool
    ciphers: tuple[str, ...] = tuple(CIPHERS)


def damage_attribute(made: Ciphertext) -> None:
    path = made.stored(b"folder")
    seals = check_keys().of_names.xattrs
    for name in (b"user.a", b"user.b", b"user.c" * 30):
        os.setxattr(path, USER_PREFIX + seals.encode(name), seals.seal(name, b"value"))
    raw = bytearray(seals.seal(b"user.b", b"value"))
    raw[20] ^= 1
    os.setxattr(path, USER_PREFIX + seals.encode(b"user.b"), raw)
    os.setxattr(path, USER_PREFIX + "nonsense", b"x")
    os.setxattr(path, USER_PREFIX + ".nonsense", b"x")
    os.setxattr(path, "user.foreign", b"x")


def sidecar_of_link(made: Ciphertext) -> Path:
    (found,) = (made.tree / links.DIRECTORY).iterdir()
    return found


def file_for_folder(made: Ciphertext) -> None:
    made.stored(b"folder/long link").unlink()
    shutil.rmtree(made.tree / links.DIRECTORY)
    (made.tree / links.DIRECTORY).write_bytes(b"")


GCM, XTS = ("aes-256-gcm",), ("aes-256-xts",)
BLOCK = 4096 + 28

DAMAGES = [
    Damage(
        "bit of a directory id",
        lambda made: flip(made.stored(b"folder") / dirid.FILE_NAME, 3),
        {Code.DIRECTORY_ID_DAMAGED},
        True,
    ),
    Damage(
        "directory id cut",
        lambda made: truncate(made.stored(b"folder") / dirid.FILE_NAME, -1),
        {Code.DIRECTORY_ID_DAMAGED},
        True,
    ),
    Damage(
        "directory id gone",
        lambda made: (made.stored(b"folder") / dirid.FILE_NAME).unlink(),
        {Code.DIRECTORY_ID_MISSING},
        True,
    ),
    Damage(
        "directory id a fifo",
        lambda made: replace(made.stored(b"folder") / dirid.FILE_NAME, os.mkfifo),
        {Code.DIRECTORY_ID_DAMAGED},
        True,
    ),
    Damage(
        "directory id a link",
        lambda made: replace(
            made.stored(b"folder") / dirid.FILE_NAME,
            lambda path: path.symlink_to(made.tree / dirid.FILE_NAME),
        ),
        {Code.DIRECTORY_ID_DAMAGED},
        True,
    ),
    Damage(
        "directory id a directory",
        lambda made: replace(made.stored(b"folder") / dirid.FILE_NAME, Path.mkdir),
        {Code.DIRECTORY_ID_DAMAGED},
        True,
    ),
    Damage(
        "directory id gone where nothing is",
        lambda made: (made.mkdir(b"new"), (made.stored(b"new") / dirid.FILE_NAME).unlink()),
        set(),
        True,
    ),
    Damage(
        "root's id gone",
        lambda made: (made.tree / dirid.FILE_NAME).unlink(),
        {Code.DIRECTORY_ID_MISSING},
        True,
    ),
    Damage(
        "root's id cut",
        lambda made: truncate(made.tree / dirid.FILE_NAME, -1),
        {Code.DIRECTORY_ID_DAMAGED},
        True,
    ),
    Damage("empty directory with another's id", give_id_of_another, {Code.DIRECTORY_ID_COPIED}, True),
    Damage("directory copied", copy_directory, {Code.DIRECTORY_ID_COPIED, Code.FILE_COPIED}, False),
    Damage("character of a name", damage_name, {Code.NAME_DAMAGED}, True),
    Damage(
        "directory moved",
        lambda made: made.stored(b"folder/deep").rename(made.tree / made.stored(b"folder/deep").name),
        {Code.NAME_DAMAGED},
        True,
    ),
    Damage(
        "file moved",
        lambda made: made.stored(b"folder/blocks").rename(made.tree / made.stored(b"folder/blocks").name),
        {Code.NAME_DAMAGED},
        True,
    ),
    Damage(
        "file renamed to nonsense",
        lambda made: rename(made.stored(b"blocks"), "x (conflict).sync"),
        {Code.NAME_DAMAGED},
        True,
    ),
    Damage(
        "link renamed to nonsense",
        lambda made: rename(made.stored(b"link"), "\udcff\x1b[31m"),
        {Code.NAME_DAMAGED},
        True,
    ),
    Damage(
        "directory renamed to nonsense",
        lambda made: rename(made.stored(b"folder"), "folder"),
        {Code.NAME_DAMAGED},
        True,
    ),
    Damage(
        "sidecar gone", lambda made: sidecar(made, LONG).unlink(), {Code.LONG_NAME_MISSING}, True
    ),
    Damage(
        "bit of a sidecar",
        lambda made: flip(sidecar(made, LONG), 7),
        {Code.LONG_NAME_DAMAGED},
        True,
    ),
    Damage(
        "sidecar a fifo", lambda made: replace(sidecar(made, LONG), os.mkfifo), {Code.LONG_NAME_DAMAGED}, True
    ),
    Damage(
        "sidecar too long",
        lambda made: sidecar(made, LONG).write_bytes(bytes(100_000)),
        {Code.LONG_NAME_DAMAGED},
        True,
    ),
    Damage(
        "sidecar of another name",
        lambda made: shutil.copy(sidecar(made, b"folder/" + LONG), sidecar(made, LONG)),
        {Code.LONG_NAME_DAMAGED},
        True,
    ),
    Damage(
        "sidecar without its entry", lambda made: made.stored(LONG).unlink(), {Code.LONG_NAME_ORPHAN}, True
    ),
    Damage("leftover file", lambda made: (made.tree / TEMPORARY).write_bytes(b"x"), {Code.LEFTOVER}, True),
    Damage("leftover directory", leftover_directory, {Code.LEFTOVER}, True),
    Damage("leftover with entries", full_leftover, {Code.LEFTOVER_FULL}, True),
    Damage(
        "file under a temporary name",
        lambda made: made.stored(b"blocks").rename(made.tree / TEMPORARY),
        {Code.LEFTOVER_FULL},
        True,
    ),
    Damage("foreign file", lambda made: (made.tree / "README").write_text("hello"), {Code.FOREIGN}, False),
    Damage("foreign directory", lambda made: (made.tree / ".stfolder").mkdir(), {Code.FOREIGN}, False),
    Damage("foreign fifo", lambda made: os.mkfifo(made.tree / "x.y"), {Code.FOREIGN}, False),
    Damage("foreign link", lambda made: (made.tree / "x.y").symlink_to("/etc"), {Code.FOREIGN}, False),
    Damage(
        "link's target",
        lambda made: replace(made.stored(b"link"), lambda path: path.symlink_to("/etc/passwd")),
        {Code.LINK_DAMAGED},
        False,
    ),
    Damage(
        "target of a long link",
        lambda made: flip(sidecar_of_link(made), 5),
        {Code.LINK_DAMAGED, Code.LINK_TARGET_ORPHAN},
        False,
    ),
    Damage(
        "target of a long link gone", lambda made: sidecar_of_link(made).unlink(), {Code.LINK_DAMAGED}, False
    ),
    Damage(
        "text of a long link",
        lambda made: replace(made.stored(b"folder/long link"), lambda path: path.symlink_to("." + "A" * 24)),
        {Code.LINK_DAMAGED, Code.LINK_TARGET_ORPHAN},
        False,
    ),
    Damage(
        "long link removed",
        lambda made: made.stored(b"folder/long link").unlink(),
        {Code.LINK_TARGET_ORPHAN},
        True,
    ),
    Damage(
        "long link copied",
        lambda made: made.name_for(b"copy").symlink_to(os.readlink(made.stored(b"folder/long link"))),
        {Code.LINK_COPIED},
        False,
    ),
    Damage(
        "something beside the targets of long links",
        lambda made: (made.tree / links.DIRECTORY / "x").mkdir(),
        {Code.FOREIGN},
        False,
    ),
    Damage(
        "leftover beside the targets of long links",
        lambda made: (made.tree / links.DIRECTORY / TEMPORARY).write_bytes(b"x"),
        {Code.LEFTOVER},
        True,
    ),
    Damage("a file for the folder of long links", file_for_folder, {Code.LINK_TARGETS_GONE}, True),
    Damage("extended attributes", damage_attribute, {Code.XATTR_DAMAGED}, False),
    Damage("magic of a file", lambda made: flip(made.stored(b"blocks"), 0), {Code.FILE_HEADER_DAMAGED}, False),
    Damage(
        "padding of a file's header",
        lambda made: flip(made.stored(b"blocks"), 125),
        {Code.FILE_HEADER_DAMAGED},
        False,
    ),
    Damage("file id", lambda made: flip(made.stored(b"blocks"), 15), {Code.FILE_KEY_DAMAGED}, False),
    Damage("file key", lambda made: flip(made.stored(b"blocks"), 50), {Code.FILE_KEY_DAMAGED}, False),
    Damage("block size", lambda made: flip(made.stored(b"blocks"), 5), {Code.FILE_CIPHER_OTHER}, False),
    Damage("epoch", swap_epoch, {Code.FILE_EPOCH_GONE}, False),
    Damage(
        "header cut", lambda made: os.truncate(made.stored(b"blocks"), 100), {Code.FILE_HEADER_DAMAGED}, False
    ),
    Damage(
        "header alone", lambda made: os.truncate(made.stored(b"blocks"), 128), {Code.FILE_HEADER_ALONE}, False
    ),
    Damage(
        "file copied",
        lambda made: shutil.copy(made.stored(b"blocks"), made.name_for(b"copy")),
        {Code.FILE_COPIED},
        False,
    ),
    Damage("bit of a block", lambda made: flip(made.stored(b"blocks"), 6000), {Code.BLOCK_DAMAGED}, False, GCM),
    Damage(
        "bit of the last block", lambda made: flip(made.stored(b"small"), -1), {Code.BLOCK_DAMAGED}, False, GCM
    ),
    Damage(
        "cut inside a block", lambda made: truncate(made.stored(b"blocks"), -5), {Code.BLOCK_DAMAGED}, False, GCM
    ),
    Damage(
        "cut at a block's end",
        lambda made: os.truncate(made.stored(b"blocks"), 128 + 2 * BLOCK),
        {Code.FILE_CUT},
        False,
        GCM,
    ),
    Damage(
        "torn",
        lambda made: os.truncate(made.stored(b"blocks"), 128 + 2 * BLOCK + 20),
        {Code.FILE_LENGTH_TORN, Code.FILE_CUT},
        False,
        GCM,
    ),
    Damage("block zeroed", lambda made: zero(made.stored(b"blocks"), 128 + BLOCK, BLOCK), {Code.BLOCK_ZEROED}, False, GCM),
    Damage("page zeroed", lambda made: zero(made.stored(b"blocks"), 128 + 4096, 4096), {Code.BLOCK_ZEROED}, False, XTS),
    Damage("torn", lambda made: os.truncate(made.stored(b"blocks"), 128 + 9), {Code.FILE_LENGTH_TORN}, False, XTS),
    Damage("filler", lambda made: flip(made.stored(b"small"), -1), {Code.FILE_END_DAMAGED}, False, XTS),
]  # fmt: skip

CASES = [
    pytest.param(damage, cipher, id=f"{damage.name}-{cipher[8:]}")
    for damage in DAMAGES
    for cipher in damage.ciphers
]


def test_a_sound_tree_gives_nothing(made: Ciphertext) -> None:
    assert check(made.tree, made.cipher) == []
    before = made.visible()
    assert check(made.tree, made.cipher, repair=True) == []
    assert made.visible() == before
    assert len(before) == 3 * 5 + 2 + 5 and before[b"blocks"] == bytes(range(256)) * 80


@pytest.mark.parametrize(("damage", "cipher"), CASES)
def test_damage_is_found_repaired_and_loses_nothing(tmp_path: Path, damage: Damage, cipher: str) -> None:
    made = Ciphertext.make(tmp_path / "tree", cipher)
    damage.do(made)
    before = made.visible()
    found = check(made.tree, cipher)
    assert {finding.code for finding in found} == damage.codes
    assert not any(finding.repaired or finding.failed for finding in found)
    repaired = check(made.tree, cipher, repair=True)
    # What was in the way of a new id goes as a leftover.
    assert {finding.code for finding in repaired} in (damage.codes, damage.codes | {Code.LEFTOVER})
    assert all(bool(finding.repaired) == damage.mended for finding in repaired), repaired
    again = check(made.tree, cipher)
    assert {finding.code for finding in again} == (set() if damage.mended else damage.codes)
    after = made.visible()
    readable = sorted(contents for contents in before.values() if contents is not None)
    still = sorted(contents for contents in after.values() if contents is not None)
    for contents in readable:
        still.remove(contents)


def test_every_code_of_the_tree_has_its_damage() -> None:
    covered = {code for damage in DAMAGES for code in damage.codes}
    elsewhere = {
        Code.HEADER_COPY_MISSING, Code.HEADER_COPY_DAMAGED, Code.HEADER_COPIES_DIFFER, Code.HEADER_COPY_OLD,
        Code.JOURNAL_PENDING, Code.JOURNAL_USELESS, Code.JOURNAL_FOREIGN, Code.JOURNAL_FAILED,
        Code.ROTATION_UNDER_WAY, Code.ROTATION_PENDING, Code.ROTATION_LEFTOVER, Code.ROTATION_FAILED,
        Code.NOT_CHECKED, Code.READ_ERROR, Code.DIRECTORY_REPEATED,
    }  # fmt: skip
    assert covered | elsewhere == set(Code) == set(KINDS)


def test_a_lost_directory_comes_back_whole_in_lost_found(made: Ciphertext) -> None:
    (made.stored(b"folder") / dirid.FILE_NAME).unlink()
    check(made.tree, made.cipher, repair=True)
    after = made.visible()
    (folder,) = {path.split(b"/")[1] for path in after if path.startswith(b"lost+found/")}
    assert folder.startswith(b"folder.recovered-")
    top = b"lost+found/" + folder + b"/"
    inside = [path.removeprefix(top) for path in after if path.startswith(top)]
    assert sum(b"/" not in path for path in inside) == 8  # five files, a hard link, a directory, a link
    # The directory in it has an id of its own: its names were not lost.
    assert sorted(path.split(b"/")[1] for path in inside if b"/" in path) == sorted(
        [b"small", b"blocks", b"whole", b"empty", LONG]
    )
    assert not problems(check(made.tree, made.cipher))


def test_blocks_are_named(tmp_path: Path) -> None:
    made = Ciphertext.make(tmp_path / "tree", "aes-256-gcm")
    for block in (0, 1, 4):
        flip(made.stored(b"blocks"), 128 + block * BLOCK + 50)
    (finding,) = check(made.tree, made.cipher)
    assert finding.detail == "3 of 5: 0-1, 4"
    assert finding.path == b"/blocks"


def test_a_huge_hole_costs_nothing(made: Ciphertext) -> None:
    os.truncate(made.stored(b"blocks"), 1 << 43)
    codes = {finding.code for finding in check(made.tree, made.cipher)}
    assert Code.BLOCK_ZEROED in codes


@pytest.mark.skipif(os.geteuid() != 0, reason="not applicable: only root can act as another user")
def test_an_owner_removes_what_a_killed_mount_of_roots_left_half_made() -> None:
    """An empty directory of root's, which the owner may not look into, but remove."""
    with tempfile.TemporaryDirectory() as place:
        made = Ciphertext.make(Path(place) / "tree", "aes-256-gcm")
        for path in (Path(place), made.tree, *made.tree.rglob("*")):
            os.chown(path, 65534, 65534, follow_symlinks=False)
        (made.tree / TEMPORARY).mkdir(mode=0o700)
        assert as_the_owner(made, repair=False) == ["not-checked"]
        assert as_the_owner(made, repair=True) == ["leftover removed"]
        assert not (made.tree / TEMPORARY).exists()
        assert not check(made.tree, made.cipher)
        # With something in it nothing is concluded, and no sidecar goes: the link that needs it may be in there.
        made.stored(b"folder").rename(made.tree / TEMPORARY)
        os.chown(made.tree / TEMPORARY, 0, 0)
        (made.tree / TEMPORARY).chmod(0o700)
        told = ["link-target-orphan", "not-checked"]
        assert as_the_owner(made, repair=False) == as_the_owner(made, repair=True) == told
        assert sidecar_of_link(made).is_file()


def as_the_owner(made: Ciphertext, *, repair: bool) -> list[str]:
    """What an ordinary user's check finds, and mends, in his tree."""
    done = subprocess.run(
        [sys.executable, "-c", AS_THE_OWNER, made.tree, made.cipher, *["repair"] * repair],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(done.stdout.splitlines())


AS_THE_OWNER = """
import os, sys
from pathlib import Path
from support.checking import check
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
for finding in check(Path(sys.argv[1]), sys.argv[2], repair="repair" in sys.argv):
    print(f"{finding.code.value} {finding.repaired}".strip())
"""
