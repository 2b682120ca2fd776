"""`phonevault doctor` on this machine, as root and as an ordinary user, and with things missing."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from support.computer import Computer
from support.needs import need_fuse
from support.terminal import OnTerminal

from phone_link.host.phone_book import PhoneBook
from phonevault.cli.doctor import _phone_check
from phonevault.doctor import phones as phone_checks
from phonevault.doctor.finding import Status
from phonevault.doctor.run import run

FAULTLESS = (
    "python",
    "cryptography",
    "fuse-device",
    "fusermount3",
    "fuse-mount",
    "config-directory",
    "runtime-directory",
)


def found(computer: Computer, *arguments: object, code: int = 0, **more: Any) -> dict[str, dict[str, str]]:
    listed = json.loads(computer.run("doctor", "--json", *arguments, code=code, **more).stdout)
    assert all(set(one) == {"check", "status", "found", "advice"} for one in listed)
    return {one["check"]: one for one in listed}


def leftovers(directory: Path) -> list[str]:
    mounts = Path("/proc/self/mountinfo").read_text()
    return [name for name in os.listdir(directory) if "doctor" in name] + [
        line for line in mounts.splitlines() if str(directory) in line
    ]


@pytest.mark.mount
def test_nothing_is_wrong_where_the_other_tests_pass(fresh: Computer) -> None:
    need_fuse()
    environment = {**fresh.environment, "TMPDIR": str(fresh.root)}
    report = found(fresh, env=environment)
    assert {check: report[check]["status"] for check in FAULTLESS} == dict.fromkeys(FAULTLESS, "ok")
    assert "FUSE 7." in report["fuse-mount"]["found"]
    assert not leftovers(fresh.root)
    lines = fresh.run("doctor", env=environment).stdout.splitlines()
    assert lines[-1] == "no problem found"
    assert [line.split("\t")[0] for line in lines[:-1]] == list(report)


def test_without_fusermount_bus_and_anything_in_path(fresh: Computer) -> None:
    environment = {
        **fresh.environment,
        "PATH": str(fresh.root),
        "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere/bus",
    }
    report = found(fresh, code=60, env=environment)
    assert report["fusermount3"]["status"] == "problem"
    assert report["fuse-mount"]["status"] == "not applicable"
    assert report["system-bus"]["status"] == "warning"
    assert "bluez" not in report


def test_a_directory_that_is_not_private_is_a_problem_and_no_crash(computer: Computer) -> None:
    for name in ("config", "run"):
        (computer.root / "home" / name / "phonevault").mkdir(mode=0o700, parents=True, exist_ok=True)
        (computer.root / "home" / name / "phonevault").chmod(0o755)
    report = found(computer, code=60)
    assert report["config-directory"]["status"] == report["runtime-directory"]["status"] == "problem"
    assert report["phone pocket"]["status"] == "problem"


def test_a_phone_that_answers_is_timed(computer: Computer) -> None:
    computer.start_phone()
    report = found(computer, "--phone", "pocket")
    assert report["phone pocket"]["status"] == "ok"
    assert "9 times" in report["phone pocket"]["found"]


def test_a_dead_phone_is_a_problem_only_if_asked_for(computer: Computer) -> None:
    assert found(computer)["phone pocket"]["status"] == "warning"
    assert found(computer, "--phone", "pocket", code=60)["phone pocket"]["status"] == "problem"
    computer.run("doctor", "--phone", "other", code=47)


def test_a_phone_that_hangs_is_given_up(computer: Computer) -> None:
    computer.start_phone()
    assert computer.phone is not None
    computer.phone.send_signal(signal.SIGSTOP)
    report = found(computer, "--phone", "pocket", code=60)
    computer.phone.send_signal(signal.SIGCONT)
    computer.stop_phone()
    assert report["phone pocket"]["status"] == "problem"


def test_a_damaged_phone_book_is_a_finding(computer: Computer) -> None:
    book = computer.root / "home" / "config" / "phonevault" / "phones.json"
    book.write_text("{")
    assert found(computer, code=60)["paired-phones"]["status"] == "problem"


def test_on_a_terminal_advice_stands_below(fresh: Computer) -> None:
    environment = {**fresh.environment, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere/bus"}
    with OnTerminal(fresh.command("phonevault.cli.main", "doctor"), environment) as screen:
        screen.wait()
    assert "→ start dbus" in screen.screen


@pytest.mark.mount
def test_a_mount_that_hangs_does_not_hang_it(computer: Computer, monkeypatch: pytest.MonkeyPatch) -> None:
    need_fuse()
    computer.start_phone()
    computer.mount()
    daemon = int(computer.status()["pid"])
    os.kill(daemon, signal.SIGSTOP)
    try:
        for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
            monkeypatch.setenv(name, computer.environment[name])
        monkeypatch.setattr(phone_checks, "LIMIT_S", 0.5)
        (finding,) = run(
            [_phone_check(PhoneBook(computer.root / "home/config/phonevault").get("pocket"), False)]
        )
    finally:
        os.kill(daemon, signal.SIGCONT)
    for thread in threading.enumerate():
        if thread.name == "doctor phone pocket":
            thread.join(30)  # it goes on in this test's home
    assert finding.status is Status.WARNING
    assert "no answer within 0.5 s" in finding.found
    computer.run("unmount", computer.place)


def test_a_fifo_in_the_place_of_the_book(computer: Computer) -> None:
    book = computer.root / "home" / "config" / "phonevault" / "phones.json"
    book.unlink()
    os.mkfifo(book, 0o600)
    assert found(computer, code=60)["paired-phones"]["status"] == "problem"
