"""The main job with the real programs: a phone in a process of its own, a real mount, the real daemon."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.computer import Computer, is_running, wait_until
from support.memory_scan import scan
from support.needs import need_fuse, need_root
from support.read_only_store import read_only_store

pytestmark = pytest.mark.mount


@pytest.fixture(autouse=True)
def fuse() -> None:
    need_fuse()


@pytest.fixture
def mounted(computer: Computer) -> Iterator[Computer]:
    """Mounted with the phone; unmounted at the end if the test did not."""
    computer.start_phone()
    computer.mount("--grace", "1")
    yield computer


def enokey(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError as error:
        return error.errno == errno.ENOKEY
    return False


def test_from_nothing_to_a_folder_and_back(fresh: Computer) -> None:
    fresh.make_phone()
    fresh.start_phone("--approve", "auto", "--accept-pairing")
    fresh.pair()
    assert "pocket" in fresh.run("phone", "list").stdout
    fresh.run("phone", "ping")
    fresh.create()
    fresh.mount()
    (fresh.place / "note").write_text("plain text")
    status = fresh.status()
    assert (status["state"], status["phone"], status["vault"]) == ("unlocked", "pocket", str(fresh.vault))
    fresh.run("unmount", fresh.place)
    assert os.listdir(fresh.place) == []
    assert not is_running(status["pid"])
    stored = [path for path in fresh.vault.rglob("*") if path.is_file()]
    assert not any(b"plain text" in path.read_bytes() or "note" in path.name for path in stored)
    fresh.mount()
    assert (fresh.place / "note").read_text() == "plain text"
    fresh.run("unmount", fresh.place)


def test_lock_and_unlock_by_command(mounted: Computer) -> None:
    note = mounted.place / "note"
    note.write_text("before")
    with note.open("r+") as handle:
        answer = mounted.run("lock", mounted.place)
        assert f"({os.getpid()}) holds {note} open" in answer.stderr
        assert enokey(note)
        with pytest.raises(OSError, match="Required key") as caught:
            os.listdir(mounted.place)
        assert caught.value.errno == errno.ENOKEY
        assert mounted.status()["cause"] == "locked by the user"
        mounted.run("unlock", mounted.place)
        assert handle.read() == "before"  # an open handle works again
    mounted.run("unlock", mounted.place)  # nothing to do, no error
    mounted.run("unmount", mounted.place)


def test_lock_without_an_argument_and_all(mounted: Computer) -> None:
    mounted.run("lock")
    assert mounted.status()["state"] == "locked"
    mounted.run("unlock", mounted.place)
    mounted.run("lock", "--all")
    assert mounted.status()["state"] == "locked"
    mounted.run("unmount", mounted.place)
    mounted.run("lock", "--all")
    mounted.run("lock", code=26)


def test_what_was_synced_survives_a_lock(mounted: Computer) -> None:
    note = mounted.place / "note"
    with note.open("wb") as handle:
        handle.write(b"x" * 100_000)
        mounted.run("lock", mounted.place)
        mounted.run("unlock", mounted.place)
    assert note.read_bytes() == b"x" * 100_000
    mounted.run("unmount", mounted.place)


def test_the_phone_goes_and_comes_back(mounted: Computer) -> None:
    note = mounted.place / "note"
    note.write_text("still here")
    mounted.stop_phone()
    locked = mounted.wait_for("locked")
    assert locked["cause"] == "the phone is away"
    assert enokey(note)
    mounted.run("unlock", mounted.place, code=41)  # the phone is absent, and it says so
    mounted.start_phone()
    mounted.wait_for("unlocked")
    assert note.read_text() == "still here"
    mounted.run("unmount", mounted.place)


def test_a_dropout_within_grace_makes_programs_wait_and_nothing_fail(computer: Computer) -> None:
    computer.start_phone()
    computer.mount("--grace", "60")
    (computer.place / "note").write_text("patience")
    computer.stop_phone()
    computer.wait_for("frozen")
    reader = computer.spawn(["cat", f"{computer.place}/note"])
    with pytest.raises(subprocess.TimeoutExpired):
        reader.wait(0.3)
    computer.start_phone()
    assert reader.communicate(timeout=30)[0] == "patience"
    assert computer.status()["state"] == "unlocked"
    computer.run("unmount", computer.place)


def test_a_frozen_folder_can_be_locked_and_unmounted(computer: Computer) -> None:
    computer.start_phone()
    computer.mount("--grace", "60")
    (computer.place / "note").write_text("written back first")
    computer.stop_phone()
    computer.wait_for("frozen")
    computer.run("unmount", computer.place)
    computer.start_phone()
    computer.mount()
    assert (computer.place / "note").read_text() == "written back first"
    computer.run("unmount", computer.place)


def test_no_automatic_unlock_waits_for_the_command(computer: Computer) -> None:
    computer.start_phone()
    computer.mount("--grace", "0", "--no-auto-unlock")
    computer.stop_phone()
    computer.wait_for("locked")
    computer.start_phone()
    wait_until(lambda: computer.status()["phone_in_range"])
    assert computer.status()["state"] == "locked"
    computer.run("unlock", computer.place)
    assert computer.status()["state"] == "unlocked"
    computer.run("unmount", computer.place)


def test_the_phone_locks_and_only_a_command_opens(mounted: Computer) -> None:
    mounted.run_phone("lock", mounted.store)
    assert mounted.wait_for("locked")["cause"] == "locked by the phone"
    mounted.run("unlock", mounted.place, code=54)
    mounted.run_phone("unlock", mounted.store)
    assert mounted.status()["state"] == "locked"
    mounted.run("unlock", mounted.place)
    mounted.run("unmount", mounted.place)


def test_a_recovery_code_needs_no_phone(computer: Computer) -> None:
    computer.mount("--recovery-file", computer.code_file, "--grace", "0")
    (computer.place / "note").touch()
    status = computer.status()
    assert (status["phone"], status["bound_to_phone"], status["method"]) == (None, False, "recovery")
    computer.run("lock", computer.place)
    computer.run("unlock", computer.place, code=5)  # no file, no terminal
    computer.run("unlock", computer.place, "--recovery-file", computer.code_file)
    assert os.listdir(computer.place) == ["note"]
    computer.run("unmount", computer.place)


def test_a_recovery_code_opens_a_mount_whose_phone_is_lost(mounted: Computer) -> None:
    mounted.stop_phone()
    mounted.wait_for("locked")
    mounted.run("unlock", mounted.place, "--recovery-file", "-", input=mounted.code_file.read_text())
    assert mounted.status()["bound_to_phone"] is False
    mounted.run("unmount", mounted.place)


def test_a_passphrase_opens_and_a_wrong_one_does_not(fresh: Computer) -> None:
    (fresh.root / "good").write_text("correct horse\n")
    (fresh.root / "bad").write_text("battery staple\n")
    good, bad = ("--passphrase-file", fresh.root / "good"), ("--passphrase-file", fresh.root / "bad")
    fresh.run("create", fresh.vault, "--no-phone", *good, "--recovery-file", fresh.code_file)
    fresh.run("mount", fresh.vault, fresh.place, *bad, code=14)
    fresh.mount(*good)
    fresh.run("lock", fresh.place)
    fresh.run("unlock", fresh.place, *bad, code=14)
    assert fresh.status()["state"] == "locked"
    fresh.run("unlock", fresh.place, *good)
    fresh.run("unmount", fresh.place)


def test_read_only(computer: Computer) -> None:
    computer.mount("--recovery-file", computer.code_file, "--read-only")
    with pytest.raises(OSError) as caught:
        (computer.place / "note").touch()
    assert caught.value.errno == errno.EROFS
    computer.run("unmount", computer.place)


@pytest.mark.parametrize(
    "options", [(), ("--read-only",), ("--shared",)], ids=["plain", "read-only", "shared"]
)
def test_a_vault_on_a_read_only_store(computer: Computer, options: tuple[str, ...]) -> None:
    recovery = ("--recovery-file", computer.code_file)
    computer.mount(*recovery)
    (computer.place / "note").write_text("kept")
    computer.run("unmount", computer.place)
    with read_only_store(computer.vault):
        computer.mount(*recovery, *options)
        assert (computer.place / "note").read_text() == "kept"
        for change in ((computer.place / "new").touch, (computer.place / "note").unlink):
            with pytest.raises(OSError) as caught:
                change()
            assert caught.value.errno == errno.EROFS
        computer.run("lock", computer.place)
        computer.run("unlock", computer.place, *recovery)
        assert (computer.place / "note").read_text() == "kept"
        computer.run("unmount", computer.place)


def test_set_id_bits_and_devices_count_only_where_root_asks_for_it(computer: Computer) -> None:
    opened = ("--recovery-file", computer.code_file)
    if os.geteuid() != 0:
        for option in ("--suid", "--dev"):
            refused = computer.run("mount", computer.vault, computer.place, *opened, option, code=2)
            assert "for root only" in refused.stderr
    both = os.ST_NOSUID | os.ST_NODEV
    for options, barred in (((), both), (("--suid",), os.ST_NODEV), (("--dev",), os.ST_NOSUID)):
        if options and os.geteuid() != 0:
            break
        computer.mount(*opened, *options)
        assert os.statvfs(computer.place).f_flag & both == barred
        computer.run("unmount", computer.place)


def test_a_vault_is_mounted_once_unless_shared(computer: Computer) -> None:
    other = computer.root / "other"
    other.mkdir()
    recovery = ("--recovery-file", computer.code_file)
    computer.mount(*recovery)
    refused = computer.run("mount", computer.vault, other, *recovery, code=22)
    assert str(computer.place) in refused.stderr  # says where
    computer.run("mount", computer.vault, computer.place, *recovery, code=22)
    computer.run("unmount", computer.place)
    computer.mount(*recovery, "--shared")
    computer.run("mount", computer.vault, other, *recovery, "--shared")
    (computer.place / "note").write_text("seen by both")
    assert (other / "note").read_text() == "seen by both"
    computer.run("unmount", computer.place)
    computer.run("unmount", other)


def test_a_busy_folder_is_not_unmounted_and_says_why(mounted: Computer) -> None:
    with (mounted.place / "note").open("w") as handle:
        refused = mounted.run("unmount", mounted.place, code=25)
        assert f"({os.getpid()})" in refused.stderr
        handle.write("still open")
    mounted.run("unmount", mounted.place)


def test_sigterm_locks_and_detaches_even_a_busy_folder(mounted: Computer) -> None:
    pid = mounted.status()["pid"]
    descriptor = os.open(mounted.place / "note", os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"flushed by the lock")
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_running(pid))
    assert os.listdir(mounted.place) == []
    with contextlib.suppress(OSError):  # the file system it belonged to has ended
        os.close(descriptor)
    mounted.mount()
    assert (mounted.place / "note").read_text() == "flushed by the lock"
    mounted.run("unmount", mounted.place)


def test_an_unmount_by_other_means_ends_the_daemon(mounted: Computer) -> None:
    pid = mounted.status()["pid"]
    subprocess.run(["fusermount3", "-u", str(mounted.place)], check=True)
    wait_until(lambda: not is_running(pid))
    mounted.run("unmount", mounted.place, code=26)
    mounted.mount()
    mounted.run("unmount", mounted.place)


@pytest.mark.parametrize("way_out", ["unmount", "mount"])
def test_after_the_daemon_was_killed_the_dead_mount_is_named_and_removed(
    mounted: Computer, way_out: str
) -> None:
    os.kill(pid := mounted.status()["pid"], signal.SIGKILL)
    wait_until(lambda: not is_running(pid))
    assert mounted.status()["state"] == "dead"
    mounted.run("lock", mounted.place, code=27)
    if way_out == "unmount":
        assert "note:" in mounted.run("unmount", mounted.place).stderr
        assert str(mounted.place) not in mounted.run("status").stdout
    else:
        assert "note:" in mounted.run("mount", mounted.vault, mounted.place).stderr
        mounted.run("unmount", mounted.place)


def test_a_mount_of_another_runtime_directory_is_left_alone(mounted: Computer) -> None:
    elsewhere = {**mounted.environment, "XDG_RUNTIME_DIR": str(mounted.root / "elsewhere")}
    for command in ("lock", "unmount"):
        mounted.run(command, mounted.place, code=8, env=elsewhere)
    assert '"unreachable"' in mounted.run("status", "--json", env=elsewhere).stdout
    mounted.run("mount", mounted.vault, mounted.place, code=22, env=elsewhere)
    assert mounted.status()["state"] == "unlocked"
    mounted.run("unmount", mounted.place)


def test_a_daemon_that_does_not_answer_is_told_soon_and_not_left_out_of_a_lock(computer: Computer) -> None:
    computer.mount("--recovery-file", computer.code_file)
    os.kill(pid := computer.status()["pid"], signal.SIGSTOP)
    try:
        assert computer.status()["state"] == "silent"
        assert (
            f"{computer.place}\tsilent\t–\t{computer.vault}\t–\tits daemon" in computer.run("status").stdout
        )
        locking = computer.start("lock", "--all")
        with pytest.raises(subprocess.TimeoutExpired):
            locking.wait(3)  # longer than `status` waits
    finally:
        os.kill(pid, signal.SIGCONT)
    assert locking.communicate(timeout=30)[0] == f"locked {computer.place}\n"
    assert computer.status()["state"] == "locked"
    computer.run("unmount", computer.place)


def test_in_the_foreground_until_interrupted(computer: Computer) -> None:
    program = computer.start(
        "mount", computer.vault, computer.place, "--foreground", "--recovery-file", computer.code_file
    )
    assert program.stdout is not None
    assert "is open at" in program.stdout.readline()
    assert computer.status()["pid"] == program.pid
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=30)
    assert program.returncode == 0
    assert os.listdir(computer.place) == []


def test_programs_do_not_hang_on_the_daemons_output(computer: Computer) -> None:
    """A script that captures the output of `mount` gets its end, though the daemon lives on."""
    computer.mount("--recovery-file", computer.code_file)  # `run` reads both pipes to their end
    assert is_running(computer.status()["pid"])
    computer.run("unmount", computer.place)


def test_after_a_lock_no_key_is_left_in_the_daemons_memory(mounted: Computer) -> None:
    need_root()  # the daemon's memory is closed to other processes of its user
    keys = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("print_keys.py")),
            str(mounted.vault),
            str(mounted.code_file),
        ],
        capture_output=True,
        text=True,
        check=True,
        env=mounted.environment,
    )
    secrets = {name: bytes.fromhex(value) for name, value in map(str.split, keys.stdout.splitlines())}
    for number in range(20):
        (mounted.place / f"file {number}").write_text("secret contents " * 1000)
    (mounted.place / "link").symlink_to("file 0")
    os.listdir(mounted.place)
    pid = mounted.status()["pid"]
    assert scan(pid, secrets), "the scan finds nothing even while the keys are in use: it proves nothing"
    mounted.run("lock", mounted.place)
    assert scan(pid, secrets) == {}
    mounted.run("unlock", mounted.place)
    mounted.run("lock", mounted.place)
    assert scan(pid, secrets) == {}
    mounted.run("unmount", mounted.place)


def test_the_daemon_can_neither_dump_core_nor_be_traced(mounted: Computer) -> None:
    pid = mounted.status()["pid"]
    limits = Path(f"/proc/{pid}/limits").read_text()
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    assert Path(f"/proc/{pid}/stat").stat().st_uid == 0  # of a process that may not be dumped (proc(5))
    mounted.run("unmount", mounted.place)


def test_the_owner_may_change_the_roots_mode_at_once(computer: Computer) -> None:
    computer.mount("--recovery-file", computer.code_file)
    os.chmod(computer.place, 0o711)
    assert computer.place.stat().st_mode & 0o777 == 0o711
    computer.run("unmount", computer.place)
