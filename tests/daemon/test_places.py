"""Mount table, who holds files open, clocks, the log, the lock on the tree, paths."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from phonevault import paths
from phonevault.daemon.clock import SuspendWatch
from phonevault.daemon.holders import holders_of
from phonevault.daemon.log import MAX_LOG_BYTES, log, open_log
from phonevault.daemon.mounts import canonical_mountpoint, is_dead, phonevault_mounts
from phonevault.daemon.places import check_cipher, prepare_mountpoint
from phonevault.daemon.treelock import hold_tree
from phonevault.errors import CipherUnsupported, MountpointUnusable, SettingsError, VaultInUse

TABLE = rb"""
25 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
40 25 0:40 / /home/a\040b rw,nosuid - fuse.phonevault /home/my\134vault rw,user_id=1000,group_id=1000
41 25 0:41 / /mnt/x rw - fuse.phonevault /v ro,user_id=0
42 25 0:42 / /mnt/x rw - tmpfs none rw
43 25 0:43 / /mnt/y rw - fuse.gocryptfs /v rw
44 25 0:44 / /mnt/z rw master:1 propagate_from:2 - fuse.phonevault v rw
nonsense
"""


def test_mounts_are_read_with_their_escapes_and_what_is_covered_does_not_count() -> None:
    found = [(entry.mountpoint, entry.source, entry.uid) for entry in phonevault_mounts(TABLE)]
    assert found == [("/home/a b", "/home/my\\vault", 1000), ("/mnt/z", "v", None)]


def test_this_machines_own_table_can_be_read() -> None:
    assert all(entry.mountpoint.startswith("/") for entry in phonevault_mounts())


def test_a_known_mount_point_is_found_without_touching_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "mount"
    (tmp_path / "link").symlink_to(tmp_path)
    touched: list[str] = []
    real = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: touched.append(str(path)) or real(path))
    known = {str(place)}
    assert canonical_mountpoint(f"{place}/", known) == str(place)
    assert canonical_mountpoint(str(tmp_path / "link" / "mount"), known) == str(place)
    assert str(place) not in touched


def test_an_unknown_path_is_resolved_whole(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert canonical_mountpoint(str(tmp_path / "link"), set()) == str(tmp_path / "real")


def test_a_directory_is_no_dead_mount(tmp_path: Path) -> None:
    assert not is_dead(str(tmp_path))
    assert not is_dead(str(tmp_path / "missing"))


def test_holders_are_named_with_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    beside = tmp_path.with_name(tmp_path.name + "-beside")
    beside.mkdir()
    program = "import sys; f = open(sys.argv[1]); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "file")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = holders_of(str(tmp_path))
        assert [holder.pid for holder in found] == [process.pid]
        assert found[0].paths == [str(tmp_path), str(tmp_path / "file")]
        assert found[0].command
        assert holders_of(str(beside)) == []
        process.communicate()


def test_a_suspend_is_noticed_once() -> None:
    times = {"boot": 100.0, "mono": 50.0}
    watch = SuspendWatch(lambda: times["boot"], lambda: times["mono"])
    times |= {"boot": 110.0, "mono": 60.0}
    assert not watch.slept()
    times |= {"boot": 200.0, "mono": 61.0}
    assert watch.slept()
    assert not watch.slept()


def test_the_log_is_private_and_put_aside_when_it_has_grown(tmp_path: Path) -> None:
    path = tmp_path / "log" / "x.log"
    os.close(open_log(path))
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"x" * (MAX_LOG_BYTES + 1))
    os.close(open_log(path))
    assert path.stat().st_size == 0
    assert (tmp_path / "log" / "x.log.old").stat().st_size == MAX_LOG_BYTES + 1


def test_a_log_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    log("a phone called\nroot: \x1b[2J")
    assert capsys.readouterr().err.count("\n") == 1


def test_a_tree_is_held_once_or_shared(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    first = hold_tree(tmp_path, shared=False)
    for shared in (False, True):
        with pytest.raises(VaultInUse):
            hold_tree(tmp_path, shared=shared)
    os.close(first)
    held = [hold_tree(tmp_path, shared=True) for _ in range(2)]
    with pytest.raises(VaultInUse):
        hold_tree(tmp_path, shared=False)
    for descriptor in held:
        os.close(descriptor)


@pytest.mark.parametrize("inside", ["vault/tree", "vault", "."])
def test_vault_and_mount_point_are_kept_apart(tmp_path: Path, inside: str) -> None:
    vault = tmp_path / "vault"
    (vault / "tree").mkdir(parents=True)
    with pytest.raises(MountpointUnusable):
        prepare_mountpoint(str(tmp_path / inside), vault)


def test_a_cipher_that_is_not_there_yet_is_refused() -> None:
    check_cipher("aes-256-gcm")
    with pytest.raises(CipherUnsupported):
        check_cipher("rot13")


def test_base_directories_follow_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    assert paths.config_dir() == tmp_path / ".config/phonevault"
    assert paths.state_dir() == tmp_path / ".local/state/phonevault"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")  # "must be absolute", else ignored
    assert paths.config_dir() == tmp_path / ".config/phonevault"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "c"))
    assert paths.identity_file() == tmp_path / "c/phonevault/identity"


def test_the_runtime_directory_is_made_private_whatever_the_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    before = os.umask(0)
    try:
        directory = paths.runtime_dir()
    finally:
        os.umask(before)
    assert directory == tmp_path / "run/phonevault"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert directory.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["open", "link", "file"])
def test_a_directory_that_others_could_use_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "d"
    if kind == "open":
        path.mkdir()
        path.chmod(0o755)
    elif kind == "link":
        (tmp_path / "real").mkdir(mode=0o700)
        path.symlink_to("real")
    else:
        path.touch(mode=0o600)
    with pytest.raises(SettingsError):
        paths.private_dir(path)
