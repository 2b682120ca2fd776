"""What each check makes of what it saw: tables of facts and the status they get."""

from __future__ import annotations

import struct
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from phone_link.errors import ChannelError, LinkClosed, LinkTimeout, PhoneAbsent, UnknownPeer
from phone_link.transport.bluez.objects import Adapter
from phonevault.doctor import bluetooth, directories, fuse, hci, limits, phones, programs, sleep, swap
from phonevault.doctor.finding import Finding, Status

OK, WARNING, PROBLEM, NONE = Status.OK, Status.WARNING, Status.PROBLEM, Status.NOT_APPLICABLE
ROOT = Path(__file__).resolve().parents[2]


def statuses(findings: list[Finding]) -> dict[str, Status]:
    for finding in findings:
        assert finding.found
        assert "\n" not in finding.found + finding.advice
        assert finding.advice or finding.status in (OK, NONE), finding
    return {finding.check: finding.status for finding in findings}


def status(finding: Finding) -> Status:
    return statuses([finding])[finding.check]


# -- programs -------------------------------------------------------------------------------------------------

GOOD_PROGRAMS = programs.Facts((3, 12, 1), "CPython", "50.0.2", "OpenSSL 4", frozenset({"aes", "pclmulqdq"}))


@pytest.mark.parametrize(
    ("change", "check", "expected"),
    [
        ({}, "python", OK),
        ({"python": (3, 10, 9)}, "python", PROBLEM),
        ({"python": (3, 11, 0)}, "python", OK),
        ({"implementation": "PyPy"}, "python", WARNING),
        ({}, "cryptography", OK),
        ({"cryptography": "49.9"}, "cryptography", PROBLEM),
        ({"cryptography": "main"}, "cryptography", PROBLEM),
        ({"cryptography": None}, "cryptography", PROBLEM),
        ({}, "aes", OK),
        ({"features": frozenset({"aes", "pmull"})}, "aes", OK),
        ({"features": frozenset({"aes"})}, "aes", WARNING),
        ({"features": frozenset({"sse2"})}, "aes", WARNING),
        ({"features": None}, "aes", WARNING),
    ],
)
def test_programs(change: dict[str, object], check: str, expected: Status) -> None:
    assert statuses(programs.judge(replace(GOOD_PROGRAMS, **change)))[check] is expected  # type: ignore[arg-type]


def test_oldest_versions_are_those_of_the_project_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=" + ".".join(map(str, programs.OLDEST_PYTHON))
    assert any(
        line.startswith(f"cryptography>={programs.OLDEST_CRYPTOGRAPHY},") for line in project["dependencies"]
    )


# -- FUSE -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (fuse.DeviceFacts("missing"), PROBLEM),
        (fuse.DeviceFacts("other"), PROBLEM),
        (fuse.DeviceFacts("device", "Permission denied"), PROBLEM),
        (fuse.DeviceFacts("device"), OK),
    ],
)
def test_device(facts: fuse.DeviceFacts, expected: Status) -> None:
    assert status(fuse.judge_device(facts)) is expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (fuse.ProgramFacts(None), PROBLEM),
        (fuse.ProgramFacts("/bin/f"), PROBLEM),
        (fuse.ProgramFacts("/bin/f", setuid_root=True), OK),
        (fuse.ProgramFacts("/bin/f", capable=True), OK),
        (fuse.ProgramFacts("/bin/f", setuid_root=True, suid_honoured=False), PROBLEM),
        (fuse.ProgramFacts("/bin/f", suid_honoured=False, is_root=True), OK),
    ],
)
def test_fusermount(facts: fuse.ProgramFacts, expected: Status) -> None:
    assert status(fuse.judge_program(facts)) is expected


@pytest.mark.parametrize(
    ("version", "expected"),
    [((7, 31), OK), ((7, 45), OK), ((7, 30), PROBLEM), ((8, 1), PROBLEM), ((6, 99), PROBLEM)],
)
def test_protocol(version: tuple[int, int], expected: Status) -> None:
    assert status(fuse.judge_protocol(*version)) is expected


@pytest.mark.parametrize(
    ("content", "allowed"),
    [
        (b"user_allow_other\n", True),
        (b"  user_allow_other \t# yes\n", True),
        (b"# a\nmount_max = 1000\nuser_allow_other\n", True),
        (b"user_allow_other", False),  # fusermount3 ignores a line without its end
        (b"#user_allow_other\n", False),
        (b"user_allow_other yes\n", False),
        (b"user_allow_other" + b" " * 300 + b"\n", False),  # too long a line for it
        (b"user_allow_other\0\n", False),
        (b"\xff\xfe" * 9000, False),
        (b"", False),
    ],
)
def test_what_fusermount_finds_in_its_configuration(content: bytes, allowed: bool) -> None:
    assert fuse.user_allow_other(content) is allowed
    assert status(fuse.judge_configuration(content)) is OK


# -- limits ---------------------------------------------------------------------------------------------------

GOOD_LIMITS = limits.Facts(8 << 20, 524288, 0, "core", 1)


@pytest.mark.parametrize(
    ("change", "check", "expected"),
    [
        ({}, "locked-memory", OK),
        ({"memlock_bytes": None}, "locked-memory", OK),
        ({"memlock_bytes": 64 << 10}, "locked-memory", WARNING),
        ({"memlock_bytes": 0}, "locked-memory", WARNING),
        ({"nofile_hard": None}, "open-files", OK),
        ({"nofile_hard": 1024}, "open-files", WARNING),
        ({}, "core-dumps", OK),
        ({"core_soft": None}, "core-dumps", WARNING),
        ({"core_soft": None, "core_pattern": ""}, "core-dumps", OK),
        ({"core_pattern": "|/usr/lib/systemd/systemd-coredump %P"}, "core-dumps", WARNING),
        ({"ptrace_scope": 0}, "ptrace", OK),
        ({"ptrace_scope": None}, "ptrace", OK),
    ],
)
def test_limits(change: dict[str, object], check: str, expected: Status) -> None:
    assert statuses(limits.judge(replace(GOOD_LIMITS, **change)))[check] is expected  # type: ignore[arg-type]


def test_locked_memory_counts_pages_and_slots() -> None:
    assert limits.keys_that_fit(limits.FIXED_PAGES * 4096, 4096) == 0
    assert limits.keys_that_fit((limits.FIXED_PAGES + 1) * 4096, 4096) == 64


# -- swap and sleep -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([], OK),
        ([swap.ENCRYPTED, swap.MEMORY], OK),
        ([swap.ENCRYPTED, swap.PLAIN], WARNING),
        ([swap.UNKNOWN], WARNING),
    ],
)
def test_swap(kinds: list[str], expected: Status) -> None:
    assert (
        status(swap.judge([swap.Area(f"/dev/{number}", kind) for number, kind in enumerate(kinds)]))
        is expected
    )


def test_names_of_swap_areas_are_unescaped() -> None:
    table = (
        b"Filename\tType\tSize\tUsed\tPriority\n/swap\\040file file 1 0 -2\n/dev/dm-1 partition 1 0 -3\n\n"
    )
    assert swap.swap_names(table) == ["/swap file", "/dev/dm-1"]
    assert swap.swap_names(b"") == []


# A little /sys: attributes, and what a device is made of.
ATTRIBUTES = {
    ("dm-0", "dm/uuid"): "CRYPT-PLAIN-swap",
    ("dm-1", "dm/uuid"): "LVM-abc",
    ("dm-3", "dm/uuid"): "LVM-abd",
    ("zram0", "backing_dev"): "none",
    ("zram1", "backing_dev"): "/dev/sda3",
}
BELOW = {"dm-1": ["dm-0"], "dm-3": ["dm-0", "sda2"], "sda2": ["sda"], "md0": ["md0"], "dm-0": ["sda2"]}


@pytest.mark.parametrize(
    ("device", "kind"),
    [
        ("dm-0", swap.ENCRYPTED),
        ("dm-1", swap.ENCRYPTED),  # LVM on dm-crypt
        ("dm-3", swap.PLAIN),  # half of it on a bare disk
        ("sda2", swap.PLAIN),
        ("zram0", swap.MEMORY),
        ("zram1", swap.UNKNOWN),  # written back to a disk
        ("loop0", swap.UNKNOWN),
        ("md0", swap.UNKNOWN),  # a circle ends
    ],
)
def test_what_a_swap_device_is(device: str, kind: str) -> None:
    found = swap.kind_of_block(
        device, lambda name, part: ATTRIBUTES.get((name, part)), lambda name: BELOW.get(name, [])
    )
    assert found == kind


@pytest.mark.parametrize(
    ("states", "counts", "expected"),
    [
        (["freeze", "mem"], True, OK),
        (["mem", "disk"], True, WARNING),
        ([], True, NONE),
        (["mem"], False, WARNING),
    ],
)
def test_sleep(states: list[str], counts: bool, expected: Status) -> None:
    assert status(sleep.judge(sleep.Facts(frozenset(states), counts))) is expected


# -- directories ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "check", "expected"),
    [
        (directories.Facts("/d", "directory"), "config-directory", OK),
        (directories.Facts("/d", "directory", mode=0o755), "config-directory", PROBLEM),
        (directories.Facts("/d", "directory", mode=0o755), "runtime-directory", PROBLEM),
        (directories.Facts("/d", "directory", mode=0o755), "state-directory", WARNING),
        (directories.Facts("/d", "directory", mode=0o777), "state-directory", PROBLEM),
        (directories.Facts("/d", "directory", ours=False), "state-directory", PROBLEM),
        (directories.Facts("/d", "directory", loose_files=("identity",)), "config-directory", PROBLEM),
        (directories.Facts("/d", "other"), "config-directory", PROBLEM),
        (directories.Facts("/d", "missing"), "config-directory", OK),
        (directories.Facts("/d", "missing", parent_writable=False), "config-directory", PROBLEM),
    ],
)
def test_directories(facts: directories.Facts, check: str, expected: Status) -> None:
    assert status(directories.judge(check, facts)) is expected


# -- Bluetooth ------------------------------------------------------------------------------------------------

HCI0 = Adapter("/org/bluez/hci0", "00:11:22:33:44:55", True, False, bluez_version="5.66")
GOOD_BLUETOOTH = bluetooth.Facts(
    "", version="5.66", adapters=(HCI0,), classic={"hci0": True}, kernel_adapters=("hci0",)
)


@pytest.mark.parametrize(
    ("change", "check", "lacking"),
    [
        ({"bus": "no such file"}, "system-bus", True),
        ({"absence": "does not run"}, "bluez", True),
        ({"refusal": "Access denied"}, "bluez", True),
        ({"adapters": ()}, "bluetooth-adapter", True),
        ({"adapters": (), "kernel_adapters": ()}, "bluetooth-adapter", True),
        ({"adapters": (replace(HCI0, powered=False),)}, "bluetooth-adapter", True),
        ({"classic": {"hci0": False}}, "bluetooth-adapter", True),
        ({"classic": {"hci0": None}}, "bluetooth-adapter", False),
        ({"adapters": (replace(HCI0, powered=False), HCI0)}, "bluetooth-adapter", False),
        ({}, "bluetooth-adapter", False),
        ({}, "bluez", False),
        ({}, "system-bus", False),
    ],
)
def test_bluetooth_is_a_problem_only_if_a_phone_needs_it(
    change: dict[str, object], check: str, lacking: bool
) -> None:
    for needed in (False, True):
        facts = replace(GOOD_BLUETOOTH, needed=needed, **change)  # type: ignore[arg-type]
        expected = OK if not lacking else PROBLEM if needed else WARNING
        assert statuses(bluetooth.judge(facts))[check] is expected


def dev_info(name: bytes, features: bytes) -> bytes:
    """The beginning of a `struct hci_dev_info`, and as much as the kernel fills."""
    return struct.pack("=H8s6sIB8s", 0, name, bytes(6), 0, 0, features).ljust(92, b"\0")


@pytest.mark.parametrize(
    ("name", "features", "expected"),
    [
        (b"hci0", bytes.fromhex("bffe0f8008000000"), True),
        (b"hci0", bytes.fromhex("0000000060000000"), False),  # LE only
        (b"hci0", bytes(8), None),
        (b"hci1", bytes.fromhex("bffe0f8008000000"), None),
    ],
)
def test_features_of_an_adapter(name: bytes, features: bytes, expected: bool | None) -> None:
    assert hci.parse("hci0", dev_info(name, features)) is expected


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ([], NONE),
        ([bluetooth.Switch("rfkill0", False, False)], OK),
        ([bluetooth.Switch("rfkill0", True, False)], PROBLEM),
        ([bluetooth.Switch("rfkill0", False, True)], PROBLEM),
    ],
)
def test_rfkill(switches: list[bluetooth.Switch], expected: Status) -> None:
    assert status(bluetooth.judge_switches(switches, needed=True)) is expected


# -- phones ---------------------------------------------------------------------------------------------------


def phone(spec: str = "tcp:phone:1", *, wanted: bool = False, mount: str | None = None) -> phones.Phone:
    def connect(timeout_s: float) -> phones.Session:
        raise AssertionError(f"nobody may connect here ({timeout_s})")

    return phones.Phone("pocket", spec, connect, wanted, mount)


@pytest.mark.parametrize(
    ("facts", "wanted", "expected"),
    [
        (phones.Facts(0.1, (0.002, 0.004, 0.9)), False, OK),
        (phones.Facts(0.1, (0.7, 0.9, 0.8)), False, WARNING),
        (phones.Facts(error=PhoneAbsent("gone")), False, WARNING),
        (phones.Facts(error=PhoneAbsent("gone")), True, PROBLEM),
        (phones.Facts(error=LinkTimeout("slow")), False, WARNING),
        (phones.Facts(error=LinkClosed("closed")), False, PROBLEM),
        (phones.Facts(error=UnknownPeer("who")), False, PROBLEM),
        (phones.Facts(error=ChannelError("fake")), False, PROBLEM),
    ],
)
def test_phones(facts: phones.Facts, wanted: bool, expected: Status) -> None:
    assert status(phones.judge(phone(wanted=wanted), facts)) is expected


def test_a_link_that_a_mount_holds_is_left_alone() -> None:
    (finding,) = phones.look(phone("serial:/dev/ttyACM0", mount="/home/me/private"))
    assert finding.status is OK
    assert "/home/me/private" in finding.found
