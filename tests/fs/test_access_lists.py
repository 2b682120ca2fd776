"""Access control lists on a real mount, beside those of a plain directory."""

from __future__ import annotations

import itertools
import os
import random
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.answers import answer
from support.mounted_tree import MountedTree, mounted_tree
from support.needs import need_acls, need_ordinary_user, need_program, need_root

from phonevault.fs.acl import Entry, Tag, pack

pytestmark = pytest.mark.mount

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
USER, GROUP, BOTH, STRANGER = 60_001, 60_002, 60_003, 60_004
CALLERS = {USER: [], GROUP: [GROUP + 1_000], BOTH: [GROUP + 1_000, USER + 1_000], STRANGER: []}
"""Other users, and the groups they are in besides their own."""


def acl(owner: int, group: int, other: int, *, mask: int | None = None, **named: int) -> bytes:
    """A list; named entries as ``u60001=7``, ``g61002=5``."""
    users = [Entry(Tag.USER, perm, int(name[1:])) for name, perm in named.items() if name[0] == "u"]
    groups = [Entry(Tag.GROUP, perm, int(name[1:])) for name, perm in named.items() if name[0] == "g"]
    masks = [] if mask is None else [Entry(Tag.MASK, mask)]
    return pack(
        [
            Entry(Tag.USER_OBJ, owner),
            *users,
            Entry(Tag.GROUP_OBJ, group),
            *groups,
            *masks,
            Entry(Tag.OTHER, other),
        ]
    )


@pytest.fixture(params=[(), ("shared",)], ids=["alone", "shared"])
def tops(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Path, Path]]:
    """A mounted directory and a plain one."""
    need_acls(tmp_path)
    plain = tmp_path / "plain"
    plain.mkdir()
    with mounted_tree(tmp_path / "base", "aes-256-gcm", *request.param) as mount:
        assert stat.S_IMODE(mount.path.stat().st_mode) & 0o700 == 0o700
        mount.path.chmod(0o755)
        yield mount.path, plain


def state(path: Path | int) -> tuple[object, ...]:
    mode = os.stat(path).st_mode
    return (
        oct(mode),
        answer(os.getxattr, path, ACCESS),
        answer(os.getxattr, path, DEFAULT),
        sorted(os.listxattr(path)),
    )


class Changes:
    """A random history of one directory: the same seed does the same everywhere."""

    def __init__(self, top: Path, seed: int) -> None:
        self.top = top
        self.random = random.Random(seed)
        self.paths = [top / "d0"]
        self.paths[0].mkdir()

    def step(self) -> list[object]:
        change = self.random.choice(
            (self.make, self.make, self.make, self.set, self.set, self.chmod, self.remove)
        )
        answered = change()
        return [change.__name__, answered, *(state(path) for path in self.paths)]

    def make(self) -> object:
        above = self.random.choice([path for path in self.paths if path.is_dir()])
        path = above / f"n{len(self.paths)}"
        mode, umask, kind = (
            self.random.randrange(0o10000),
            self.random.randrange(0o100),
            self.random.randrange(4),
        )
        if kind == 1:
            mode |= 0o700
        old = os.umask(umask)
        try:
            if kind == 0:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
            elif kind == 1:
                path.mkdir(mode)
            elif kind == 2:
                os.mknod(path, stat.S_IFREG | mode)
            else:
                nameless = os.open(above, os.O_TMPFILE | os.O_RDWR, mode)
                os.link(f"/proc/self/fd/{nameless}", path, src_dir_fd=nameless, follow_symlinks=True)
                os.close(nameless)
        finally:
            os.umask(old)
        self.paths.append(path)
        return kind, oct(mode), oct(umask)

    def set(self) -> object:
        path, name = self.random.choice(self.paths), self.random.choice((ACCESS, DEFAULT, DEFAULT))
        perms = [self.random.randrange(8) for _ in range(6)]
        raw = self.random.choice(
            (
                acl(7, perms[0], perms[1]),
                acl(7, perms[0], perms[1], mask=perms[2], u60001=perms[3], u60002=perms[4]),
                acl(7, perms[0], perms[1], mask=perms[2], u60001=perms[3], g60002=perms[4], g61002=perms[5]),
                acl(7, perms[0], perms[1], mask=perms[2]),
                acl(7, perms[0], perms[1], u60001=7),
                b"\2\0\0\0",
                b"junk",
            )
        )
        return name, raw, answer(os.setxattr, path, name, raw)

    def chmod(self) -> object:
        path, mode = self.random.choice(self.paths), self.random.randrange(0o10000)
        if path.is_dir():
            mode |= 0o700
        return oct(mode), answer(os.chmod, path, mode)

    def remove(self) -> object:
        path, name = self.random.choice(self.paths), self.random.choice((ACCESS, DEFAULT))
        return name, answer(os.removexattr, path, name)


@pytest.mark.parametrize("seed", range(4))
def test_modes_and_lists_are_those_of_a_plain_directory(tops: tuple[Path, Path], seed: int) -> None:
    ours, theirs = (Changes(top, seed) for top in tops)
    for _ in range(60):
        assert ours.step() == theirs.step()
    assert any(answer(os.getxattr, path, ACCESS) != "ENODATA" for path in ours.paths)
    for path in reversed(ours.paths):
        path.rmdir() if path.is_dir() else path.unlink()


def test_a_default_list_that_goes_or_comes_counts_at_once(tops: tuple[Path, Path]) -> None:
    seen = []
    for top in tops:
        os.umask(0o027)
        try:
            for number, raw in enumerate((None, acl(7, 7, 7), acl(7, 5, 0, mask=7, u60001=6), None)):
                if raw is not None:
                    os.setxattr(top, DEFAULT, raw)
                elif number:
                    os.removexattr(top, DEFAULT)
                (top / f"file{number}").touch()
                (top / f"directory{number}").mkdir()
                os.mkfifo(top / f"fifo{number}")
                seen.append([state(top / f"{kind}{number}") for kind in ("file", "directory", "fifo")])
        finally:
            os.umask(0o022)
    if os.geteuid() == 0:
        assert seen[:4] == seen[4:]
    else:  # an ordinary user's daemon cannot give a fifo a list: nobody may get more
        assert [line[:2] for line in seen[:4]] == [line[:2] for line in seen[4:]]
        assert seen[2][2][:2] == ("0o10640", "ENODATA")


def test_a_fifo_of_an_ordinary_users_daemon_has_no_list(tops: tuple[Path, Path]) -> None:
    need_ordinary_user()
    fifo = tops[0] / "fifo"
    os.mkfifo(fifo, 0o600)
    assert answer(os.setxattr, fifo, ACCESS, acl(6, 0, 0, mask=6, u60001=6)) == "ENOTSUP"
    assert state(fifo)[:2] == ("0o10600", "ENODATA")
    assert answer(os.setxattr, fifo, ACCESS, acl(6, 4, 0)) is None
    assert answer(os.removexattr, fifo, ACCESS) is None
    assert state(fifo)[:2] == ("0o10640", "ENODATA")


def test_the_tools(tops: tuple[Path, Path]) -> None:
    """setfacl and getfacl know nothing of us."""
    setfacl, getfacl = need_program("setfacl"), need_program("getfacl")
    seen = []
    for top in tops:
        (top / "file").touch()
        (top / "directory").mkdir()
        for arguments in (
            ["-m", "u:60001:rwx,g:60002:r--", "file"], ["-m", "m::r--", "file"], ["-x", "u:60001", "file"],
            ["-d", "-m", "u:60001:rwx,o::---", "directory"], ["-m", "g::r-x", "directory"], ["-b", "file"],
        ):  # fmt: skip
            subprocess.run([setfacl, *arguments], cwd=top, check=True)
            (top / "directory" / "-".join(arguments).replace("/", "")).touch()
            paths = sorted(str(path.relative_to(top)) for path in top.rglob("*"))
            shown = subprocess.run(
                [getfacl, "--omit-header", *paths], cwd=top, check=True, capture_output=True
            )
            seen.append(shown.stdout)
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :]


@pytest.fixture
def open_mount() -> Iterator[tuple[MountedTree, Path]]:
    """A mount that other users may enter, and a plain directory."""
    need_root()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        need_acls(base)
        base.chmod(0o755)
        (base / "plain").mkdir(0o755)
        with mounted_tree(base / "base", "aes-256-gcm", "allow_other") as mount:
            mount.path.chmod(0o755)
            yield mount, base / "plain"


def rights(uid: int, paths: list[Path]) -> bytes:
    """What a user may do: the kernel's answers to access(2)."""
    script = 'for path; do for right in r w x; do test -$right "$path" && printf $right || printf -; done; printf " "; done'
    return subprocess.run(
        ["/bin/sh", "-c", script, "sh", *map(str, paths)],
        user=uid, group=uid, extra_groups=CALLERS[uid], check=True, capture_output=True,
    ).stdout  # fmt: skip


def test_lists_grant_and_deny(open_mount: tuple[MountedTree, Path]) -> None:
    mount, plain = open_mount
    raws = [
        acl(6, 0, 0, mask=6, u60001=6),
        acl(6, 4, 4, mask=4, u60001=7, g61002=6),
        acl(6, 4, 7, mask=7, u60001=0, g61002=0),
        acl(0, 0, 7, mask=0, u60004=7),
        acl(7, 0, 1, mask=5, g61001=4, g61002=1),
        acl(6, 4, 0),
    ]
    paths: dict[Path, list[Path]] = {}
    for top in (mount.path, plain):
        paths[top] = []
        for number, raw in enumerate(raws):
            path = top / f"file{number}"
            path.write_text("text")
            os.setxattr(path, ACCESS, raw)
            os.setxattr(top, DEFAULT, raw)
            (top / f"made{number}").touch()
            os.removexattr(top, DEFAULT)
            paths[top] += [path, top / f"made{number}"]
    for uid, number in itertools.product(CALLERS, range(2)):
        assert rights(uid, paths[mount.path]) == rights(uid, paths[plain]), (uid, number)
        mount.remount()
    assert rights(USER, paths[mount.path])[:3] == b"rw-"
    read = ["/bin/cat", str(mount.path / "file0")]
    for uid, expected in ((USER, b"text"), (STRANGER, b"")):
        done = subprocess.run(read, user=uid, group=uid, extra_groups=[], check=False, capture_output=True)
        assert done.stdout == expected
    (mount.path / "file0").chmod(0o600)  # the mask goes with it
    assert rights(USER, [mount.path / "file0"]) == b"--- "


def test_a_list_set_by_a_stranger_to_the_group_takes_the_set_group_id_bit(
    open_mount: tuple[MountedTree, Path],
) -> None:
    mount, plain = open_mount
    for top in (mount.path, plain):
        path = top / "program"
        path.touch()
        os.chown(path, USER, 60_009)
        path.chmod(0o2755)
        os.seteuid(USER)
        try:
            os.setxattr(path, ACCESS, acl(7, 5, 5, mask=5, u60002=5))
            assert answer(os.setxattr, top, ACCESS, acl(7, 5, 5)) == "EPERM"
        finally:
            os.seteuid(0)
        assert stat.S_IMODE(path.stat().st_mode) == 0o755


def test_the_lists_of_every_kind_of_object(open_mount: tuple[MountedTree, Path]) -> None:
    mount, plain = open_mount
    seen = []
    for top in (mount.path, plain):
        os.mkfifo(top / "fifo")
        os.mknod(top / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        (top / "link").symlink_to("fifo")
        for kind in ("fifo", "device"):
            os.setxattr(top / kind, ACCESS, acl(6, 0, 0, mask=6, u60001=6))
            seen.append((kind, state(top / kind), answer(os.setxattr, top / kind, DEFAULT, acl(7, 7, 7))))
        for name in (ACCESS, DEFAULT):
            seen.append(answer(lambda: os.setxattr(top / "link", name, acl(7, 7, 7), follow_symlinks=False)))  # noqa: B023
    half = len(seen) // 2
    assert seen[:half] == seen[half:]
