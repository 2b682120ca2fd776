"""`phonevault slot revoke`: a real phone is lost; what its key opens after each step is tried, and as the command says."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.computer import Computer, wait_until
from support.file_epochs import file_epochs
from support.needs import need_fuse

from keyslots import store

pytestmark = pytest.mark.mount
KILLED = str(Path(__file__).parents[1] / "support" / "killed_command.py")


@pytest.fixture(autouse=True)
def fuse() -> None:
    need_fuse()


def by_code(computer: Computer) -> tuple[object, ...]:
    return ("--recovery-file", computer.code_file)


def revoke(computer: Computer, *more: object, code: int = 0) -> Any:
    return computer.run("slot", "revoke", computer.vault, "pocket", *by_code(computer), *more, code=code)


def fill(computer: Computer, files: int = 12) -> None:
    computer.mount(*by_code(computer))
    for number in range(files):
        (computer.place / f"file {number}").write_bytes(bytes([number]) * 5000)
    computer.run("unmount", computer.place)


def epochs(computer: Computer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(computer.run("info", computer.vault, "--json").stdout)["epochs"]
    return found


def test_a_lost_phone_opens_nothing_new(computer: Computer) -> None:
    fill(computer)
    backup = computer.root / "backup"
    computer.run("header", "backup", computer.vault, backup)
    beside = computer.vault / "phonevault (conflict).json"
    beside.write_bytes(backup.read_bytes())
    computer.start_phone("--approve", "auto", "--accept-pairing")
    computer.run("slot", "test", computer.vault, "--phone", "pocket")
    done = revoke(computer, "--forget")
    assert "removed slot 0 (phone: pocket)" in done.stdout
    assert "volume key 2, 12 file keys wrapped anew" in done.stdout
    assert "forgot pocket" in done.stdout
    assert "slot 1 (recovery: recovery code), made" in done.stderr  # who gets the new key is shown
    assert "slot 0 (phone: pocket), made" not in done.stderr
    assert f"{beside} is an old header that pocket opens" in done.stderr
    assert "reads names" in done.stderr and "reads that copy" in done.stderr
    assert epochs(computer) == {"current": 2, "files": 2, "live": [1, 2], "names": 1}
    assert set(file_epochs(computer.vault / "tree")) == {2}
    assert computer.run("phone", "list").stdout == ""
    computer.pair()
    computer.run("slot", "test", computer.vault, "--phone", "pocket", code=14)
    # As it says: an old header opens with it, and does not open what is there now.
    for name in (store.MAIN, store.BACKUP):
        (computer.vault / name).write_bytes(backup.read_bytes())
    computer.run("slot", "test", computer.vault, "--phone", "pocket")
    computer.mount("--phone", "pocket", "--read-only")
    names = sorted(path.name for path in computer.place.iterdir())
    assert names == sorted(f"file {number}" for number in range(12))  # names are under the old volume key
    for name in names:
        with pytest.raises(OSError, match="Input/output error"):
            (computer.place / name).read_bytes()
    computer.run("unmount", computer.place)


def test_as_json_and_by_its_key(computer: Computer) -> None:
    fill(computer, 3)
    listed = json.loads(computer.run("slot", "list", computer.vault, "--json").stdout)
    key = listed[0]["fingerprint"]
    computer.run("phone", "forget", "pocket")
    argv = ("slot", "revoke", computer.vault, key[:16].upper(), "--json", *by_code(computer))
    found = json.loads(computer.run(*argv).stdout)
    assert found == {
        "vault": str(computer.vault),
        "phone": key[:16].upper(),
        "fingerprint": key,
        "removed_slots": [{"id": 0, "kind": "phone", "label": "pocket"}],
        "changed_slots": [],
        "stage": "master",
        "epoch": 2,
        "forgotten": False,
        "locked": [],
        "old_headers": [],
        "file_keys_wrapped": 3,
        "damaged": 0,
        "still_open": ["names", "known-file-keys", "old-copies"],
    }
    computer.run(*argv, code=47)  # nobody has that key any more
    assert epochs(computer)["current"] == 2


def test_what_is_refused_changes_nothing(computer: Computer) -> None:
    before = (computer.vault / store.MAIN).read_bytes()
    computer.start_phone()
    vault = computer.vault
    computer.run("slot", "revoke", vault, "pocket", "--phone", "pocket", code=2)
    computer.run("slot", "revoke", vault, "pouch", *by_code(computer), code=47)
    computer.run("slot", "revoke", vault, "0" * 16, *by_code(computer), code=47)
    computer.run("slot", "revoke", vault, "pocket", "--recovery-file", "-", code=14, input=wrong_code())
    assert (computer.vault / store.MAIN).read_bytes() == before
    computer.run("slot", "remove", computer.vault, 1, "--phone", "pocket")
    before = (computer.vault / store.MAIN).read_bytes()
    assert "no other way into the vault" in revoke(computer, code=19).stderr
    assert (computer.vault / store.MAIN).read_bytes() == before


def wrong_code() -> str:
    from keyslots.build import new_recovery_code
    from keyslots.recovery_code import format_code

    with new_recovery_code() as code:
        return format_code(code).decode()


def test_without_options_the_lost_phone_is_not_asked(computer: Computer) -> None:
    """The only paired phone is the lost one: the recovery code is asked for, and there is no terminal to type it on."""
    computer.start_phone()
    told = computer.run("slot", "revoke", computer.vault, "pocket", code=5, start_new_session=True)
    assert "recovery code" in told.stderr


def killed_at(computer: Computer, number: int, when: str) -> str:
    argv = [sys.executable, KILLED, str(number), when, "slot", "revoke", str(computer.vault), "pocket"]
    child = computer.spawn([*argv, *map(str, by_code(computer))])
    said, _ = child.communicate()
    assert child.returncode == (-signal.SIGKILL if number else 0), said
    return said


def test_killed_at_any_change_of_the_disk_it_goes_on(computer: Computer) -> None:
    fill(computer, 4)
    kept = computer.root / "kept"
    shutil.copytree(computer.vault, kept)
    computer.run("slot", "test", computer.vault, *by_code(computer))  # makes what the state directory needs
    changes = int(killed_at(computer, 0, "").rpartition("changes: ")[2])
    assert changes > 20
    for number in (1, 3, 5, changes // 2, changes - 3):
        shutil.rmtree(computer.vault)
        shutil.copytree(kept, computer.vault)
        killed_at(computer, number, "before")
        computer.run("slot", "test", computer.vault, *by_code(computer))
        revoke(computer)
        now = epochs(computer)
        assert now["files"] == now["current"] > 1
        assert set(file_epochs(computer.vault / "tree")) == {now["current"]}
        assert "pocket" not in computer.run("slot", "list", computer.vault).stdout


def reads_now(computer: Computer) -> dict[str, bytes]:
    computer.mount("--read-only", *by_code(computer))
    found = {path.name: path.read_bytes() for path in computer.place.iterdir()}
    computer.run("unmount", computer.place)
    return found


CONTENTS = {f"file {number}": bytes([number]) * 5000 for number in range(12)}


def test_with_contents_an_old_header_opens_nothing_any_more(computer: Computer) -> None:
    fill(computer)
    old = {name: (computer.vault / name).read_bytes() for name in (store.MAIN, store.BACKUP)}
    computer.start_phone()
    found = json.loads(revoke(computer, "--content", "--json").stdout)
    assert (found["stage"], found["epoch"], found["files_encrypted"]) == ("content", 2, 12)
    assert found["still_open"] == ["old-copies"]
    assert epochs(computer) == {"current": 2, "files": 2, "live": [2], "names": 2}
    assert reads_now(computer) == CONTENTS
    for name, data in old.items():
        (computer.vault / name).write_bytes(data)
    computer.run("slot", "test", computer.vault, "--phone", "pocket", code=12)  # its header, but not its tree


@pytest.mark.parametrize("more", [(), ("--content",)])
def test_a_rotation_of_contents_that_the_phone_knew_ends_first(
    computer: Computer, more: tuple[object, ...]
) -> None:
    fill(computer)
    argv = [sys.executable, KILLED, "40", "before", "rotate", "content", str(computer.vault)]
    child = computer.spawn([*argv, *map(str, by_code(computer))])
    said, _ = child.communicate()
    assert child.returncode == -signal.SIGKILL, said
    assert epochs(computer) == {"current": 2, "files": 1, "live": [1, 2], "names": 1}
    done = revoke(computer, *more)
    assert "that has to end first" in done.stderr
    names = 3 if more else 2
    assert epochs(computer) == {"current": 3, "files": 3, "live": sorted({names, 3}), "names": names}
    assert reads_now(computer) == CONTENTS
    assert "pocket" not in computer.run("slot", "list", computer.vault).stdout


def test_killed_while_contents_are_encrypted_anew_it_goes_on(computer: Computer) -> None:
    fill(computer)
    argv = [
        sys.executable,
        KILLED,
        "40",
        "before",
        "slot",
        "revoke",
        str(computer.vault),
        "pocket",
        "--content",
    ]
    child = computer.spawn([*argv, *map(str, by_code(computer))])
    said, _ = child.communicate()
    assert child.returncode == -signal.SIGKILL, said
    assert "pocket" not in computer.run("slot", "list", computer.vault).stdout
    done = revoke(computer, "--content")
    assert "going on with the rotation" in done.stderr
    assert epochs(computer) == {"current": 2, "files": 2, "live": [2], "names": 2}
    assert reads_now(computer) == CONTENTS


def test_a_folder_that_the_phone_holds_open_is_locked(computer: Computer) -> None:
    fill(computer, 3)
    computer.start_phone()
    computer.mount("--phone", "pocket")
    assert computer.status()["phones"][0]["key"]
    held = (computer.place / "file 1").open("rb")
    told = revoke(computer, code=22)
    assert f"locked {computer.place}" in told.stdout
    assert "the same command" in told.stderr
    now = computer.status()
    assert now["state"] == "locked"
    time.sleep(1.2)  # the phone is here all the time, and its heartbeats arrive
    assert computer.status()["state"] == "locked"
    computer.run("unlock", computer.place, code=14)
    computer.run("unlock", computer.place, *by_code(computer))
    assert held.read() == bytes([1]) * 5000
    held.close()
    (computer.place / "new").write_text("new")
    wait_until(lambda: computer.status()["rotation"]["state"] == "done")  # the unlock went on with it
    computer.run("unmount", computer.place)
    done = revoke(computer)
    assert "has no slot in it (any more)" in done.stderr
    assert set(file_epochs(computer.vault / "tree")) == {3}  # and makes sure


def test_a_daemon_that_the_command_cannot_reach_locks_by_itself(computer: Computer) -> None:
    fill(computer, 3)
    computer.start_phone()
    computer.mount("--phone", "pocket")
    elsewhere = {**computer.environment, "XDG_RUNTIME_DIR": str(computer.root / "other")}
    (computer.root / "other").mkdir(mode=0o700)
    argv = ("slot", "revoke", computer.vault, "pocket", *by_code(computer))
    computer.run(*argv, code=22, env=elsewhere)
    wait_until(lambda: computer.status()["state"] == "locked")
    assert computer.status()["cause"] == "its phone has no slot any more"
    computer.run("unmount", computer.place)
