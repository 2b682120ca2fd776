"""`phonevault rotate content`: a real vault and real mounts; kills at every change are in tests/fs/test_content_rotation.py."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.computer import Computer
from support.file_epochs import file_epochs
from support.needs import need_fuse

from phonevault.fs.format.rotation import PAGE_BYTES

pytestmark = pytest.mark.mount
KILLED = str(Path(__file__).parents[1] / "support" / "killed_command.py")
BIG = 40_000_000


@pytest.fixture(autouse=True)
def fuse() -> None:
    need_fuse()


def by_code(computer: Computer) -> tuple[object, ...]:
    return ("--recovery-file", computer.code_file)


def rotate(computer: Computer, **more: Any) -> subprocess.CompletedProcess[str]:
    return computer.run("rotate", "content", computer.vault, *by_code(computer), **more)


def fill(computer: Computer, big: int = BIG) -> dict[str, bytes]:
    chance = random.Random(1)
    made = {f"folder/file {number}": chance.randbytes(number * 700) for number in range(8)}
    made |= {"big": chance.randbytes(big), "folder/" + "n" * 250: b"long name"}
    computer.mount(*by_code(computer))
    (computer.place / "folder").mkdir()
    for name, data in made.items():
        (computer.place / name).write_bytes(data)
    computer.run("unmount", computer.place)
    return made


def assert_holds(computer: Computer, made: dict[str, bytes], *options: object) -> None:
    computer.mount(*options, *by_code(computer))
    assert {path.name for path in (computer.place / "folder").iterdir()} == {
        name.removeprefix("folder/") for name in made if name.startswith("folder/")
    }
    for name, data in made.items():
        assert (computer.place / name).read_bytes() == data, name
    computer.run("unmount", computer.place)


def info(computer: Computer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(computer.run("info", computer.vault, "--json").stdout)
    return found


def kill_in_the_big_file(computer: Computer) -> None:
    """By SIGKILL while a step of the largest file is made: after the undo log is written, before it is cleared."""
    argv = [
        sys.executable,
        KILLED,
        "0",
        "",
        "rotate",
        "content",
        str(computer.vault),
        *map(str, by_code(computer)),
    ]
    border = computer.vault / "rotation"
    child = computer.spawn(argv)
    while child.poll() is None:
        names = os.listdir(border) if border.is_dir() else []
        if any(len(name) == 32 for name in names):
            child.send_signal(signal.SIGKILL)
            break
        time.sleep(0.001)
    child.communicate()


def test_interrupted_it_can_be_mounted_and_goes_on(computer: Computer) -> None:
    made = fill(computer, 150_000_000)
    kill_in_the_big_file(computer)
    found = info(computer)
    assert found["rotation"] == "content"
    assert found["epochs"] == {"current": 2, "files": 1, "live": [1, 2], "names": 1}
    assert "rotate content" in computer.run("info", computer.vault).stdout
    computer.run("mount", computer.vault, computer.place, "--shared", *by_code(computer), code=22)
    computer.run("rotate", "master", computer.vault, *by_code(computer), code=22)
    told = computer.run("check", computer.vault, *by_code(computer), "--repair", "--json")
    codes = {finding["code"] for finding in json.loads(told.stdout)["findings"]}
    assert "rotation-under-way" in codes
    assert_holds(computer, made)
    computer.run("check", computer.vault, *by_code(computer))
    computer.mount(*by_code(computer))
    with (computer.place / "big").open("r+b") as file:
        for place in (0, 16_000_000, 149_999_000):
            file.seek(place)
            file.write(b"in between")
    (computer.place / "folder/file 1").rename(computer.place / "folder/moved")
    computer.run("unmount", computer.place)
    for place in (0, 16_000_000, 149_999_000):
        made["big"] = made["big"][:place] + b"in between" + made["big"][place + 10 :]
    made["folder/moved"] = made.pop("folder/file 1")
    assert_holds(computer, made, "--read-only")
    if info(computer)["rotation"]:  # a mount goes on with it, and may have come to the end
        assert "going on" in rotate(computer).stderr
    found = info(computer)
    assert (found["rotation"], found["epochs"]["live"]) == (None, [2])
    assert_holds(computer, made)
    computer.run("check", computer.vault, *by_code(computer))


def test_the_phone_knows_the_vault_again(computer: Computer) -> None:
    made = fill(computer, 1000)
    computer.start_phone()
    computer.mount("--phone", "pocket")
    computer.run("unmount", computer.place)
    rotate(computer)  # while nobody asks the phone
    computer.mount("--phone", "pocket")
    assert (computer.place / "big").read_bytes() == made["big"]
    computer.run("unmount", computer.place)
    computer.run("rotate", "content", computer.vault, "--phone", "pocket")
    computer.run("rotate", "master", computer.vault, *by_code(computer))
    computer.mount("--phone", "pocket")
    assert (computer.place / "big").read_bytes() == made["big"]
    computer.run("unmount", computer.place)


def test_ctrl_c_stops_it_between_two_steps(computer: Computer) -> None:
    made = fill(computer, 150_000_000)
    child = computer.start("rotate", "content", computer.vault, "--duty", 0.05, *by_code(computer))
    while not (computer.vault / "rotation").is_dir():
        time.sleep(0.01)
    time.sleep(0.2)
    child.send_signal(signal.SIGINT)
    said, _ = child.communicate()
    assert child.returncode == 130, said
    assert "goes on" in said
    assert_holds(computer, made, "--read-only")
    rotate(computer)
    assert_holds(computer, made)
    assert set(file_epochs(computer.vault / "tree")) == {2}


def test_it_supersedes_a_rotation_of_the_volume_key(computer: Computer) -> None:
    made = fill(computer, 100)
    for number in (12, 14):
        argv = [sys.executable, KILLED, str(number), "before", "rotate", "master", str(computer.vault)]
        computer.spawn([*argv, *map(str, by_code(computer))]).communicate()
    assert info(computer)["rotation"] == "master"
    rotate(computer)
    found = info(computer)
    assert (found["rotation"], len(found["epochs"]["live"])) == (None, 1)
    assert set(file_epochs(computer.vault / "tree")) == {found["epochs"]["current"]}
    assert_holds(computer, made)


def largest(computer: Computer) -> Path:
    return max((computer.vault / "tree").rglob("*"), key=lambda path: path.lstat().st_size)


def test_what_is_damaged_keeps_the_older_keys(computer: Computer) -> None:
    made = fill(computer, 20_000_000)
    victim = largest(computer)
    raw = bytearray(victim.read_bytes())
    raw[18_000_000] ^= 1
    victim.write_bytes(raw)
    assert "1 damaged object" in rotate(computer, code=31).stderr
    assert info(computer)["rotation"] == "content"
    computer.mount(*by_code(computer))
    with (computer.place / "big").open("rb") as file:
        assert file.read(17_000_000) == made["big"][:17_000_000]
        file.seek(19_000_000)
        assert file.read() == made["big"][19_000_000:]
    computer.run("unmount", computer.place)
    victim = largest(computer)  # under another name by now
    part = bytearray(victim.read_bytes())
    part[18_000_000] ^= 1
    victim.write_bytes(part)
    rotate(computer)
    assert info(computer)["rotation"] is None
    assert_holds(computer, made)


def test_what_somebody_else_says_is_under_way_is_not_believed(computer: Computer) -> None:
    made = fill(computer, 100_000)
    kept = {name: (computer.vault / name).read_bytes() for name in ("phonevault.json", "phonevault.json.bak")}
    rotation = computer.vault / "rotation"
    rotation.mkdir()
    (rotation / "undo").write_bytes(b"PVROTLG1" + bytes(PAGE_BYTES))
    assert_holds(computer, made)  # without the flag nothing is looked at
    found = computer.run("check", computer.vault, *by_code(computer), "--repair", "--json")
    assert "rotation-leftover" in found.stdout
    assert not rotation.exists()
    for name, raw in kept.items():
        forged = json.loads(raw)
        forged["header"]["flags"] = ["content-rotation"]
        (computer.vault / name).write_text(json.dumps(forged))
    computer.run("mount", computer.vault, computer.place, *by_code(computer), code=11)
    for name, raw in kept.items():
        (computer.vault / name).write_bytes(raw)
    assert_holds(computer, made)


@pytest.fixture
def small_disk(computer: Computer) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("not applicable: only root can mount a small disk")
    folder = computer.root / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk(computer: Computer, small_disk: Path) -> None:
    computer.vault = small_disk / "vault"
    computer.code_file.unlink()
    computer.run(
        "create", computer.vault, "--no-phone", "--single-slot", "--recovery-file", computer.code_file
    )
    made = fill(computer, 5_000_000)
    filler = small_disk / "filler"
    room = os.statvfs(small_disk)
    # Room for the new header, and not for what is to be kept of the old ciphertext.
    with filler.open("wb") as file:
        file.write(bytes(room.f_bavail * room.f_frsize - 1_000_000))
    told = rotate(computer, code=4)
    assert "No space left" in told.stderr
    assert_holds(computer, made)
    filler.unlink()
    rotate(computer)
    assert info(computer)["rotation"] is None
    assert_holds(computer, made)


def test_what_is_closed_to_its_owner(computer: Computer) -> None:
    """An ordinary user may rotate it all the same, and it is as closed afterwards."""
    made = fill(computer, 20_000_000)
    computer.mount(*by_code(computer))
    os.setxattr(computer.place / "folder/file 3", "user.tag", b"value")
    (computer.place / "folder" / "below").mkdir(mode=0o100)
    for number in range(8):
        (computer.place / f"folder/file {number}").chmod((0, 0o400, 0o4755, 0o222)[number % 4])
    (computer.place / "folder").chmod(0)
    (computer.place / "big").chmod(0o444)
    computer.run("unmount", computer.place)
    modes = sorted(path.lstat().st_mode for path in (computer.vault / "tree").iterdir())
    rotate(computer)
    assert sorted(path.lstat().st_mode for path in (computer.vault / "tree").iterdir()) == modes
    assert info(computer)["rotation"] is None
    computer.mount(*by_code(computer))
    (computer.place / "folder").chmod(0o700)
    assert (computer.place / "folder/below").stat().st_mode & 0o777 == 0o100
    for number in range(8):
        path = computer.place / f"folder/file {number}"
        assert path.stat().st_mode & 0o7777 == (0, 0o400, 0o4755, 0o222)[number % 4]
        path.chmod(0o600)
        assert path.read_bytes() == made[f"folder/file {number}"]
    assert os.getxattr(computer.place / "folder/file 3", "user.tag") == b"value"
    assert (computer.place / "big").read_bytes() == made["big"]
    (computer.place / "folder/below").chmod(0o700)
    computer.run("unmount", computer.place)
