"""The probes against the machine, and against a machine that is worse than it."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dbus_fast import Variant
from support.mock_bluez import DENY_BLUEZ, Air, MockBluez, dbus_daemon
from support.needs import need_program

from phonevault.doctor import bluetooth, directories, fuse, swap
from phonevault.doctor.finding import Finding, Status, fine
from phonevault.doctor.run import Check, run


def test_a_probe_that_hangs_is_left_behind() -> None:
    release = threading.Event()

    def hang() -> list[Finding]:
        release.wait()
        return []

    began_s = time.monotonic()
    found = list(run([Check("slow", hang, 0.05), Check("next", lambda: [fine("next", "x")])]))
    release.set()
    assert [(one.check, one.status) for one in found] == [("slow", Status.WARNING), ("next", Status.OK)]
    assert time.monotonic() - began_s < 20  # not for ever


def test_the_machine_refusing_is_a_warning_and_a_bug_is_a_bug() -> None:
    def refused() -> list[Finding]:
        raise PermissionError(13, "Permission denied", "/proc/x")

    def broken() -> list[Finding]:
        raise ZeroDivisionError

    (finding,) = run([Check("x", refused)])
    assert finding.status is Status.WARNING
    assert "/proc/x: Permission denied" in finding.found
    with pytest.raises(ZeroDivisionError):
        list(run([Check("x", broken)]))


def hostile_configurations(directory: Path) -> Iterator[Path]:
    """Paths in the place of /etc/fuse.conf that must neither hang nor crash the probe."""
    os.mkfifo(directory / "fifo")
    (directory / "directory").mkdir()
    (directory / "circle").symlink_to("circle")
    for name in ("fifo", "directory", "circle"):
        yield directory / name
    yield Path("/dev/tty")


def test_hostile_fuse_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse.os, "geteuid", lambda: 1000)
    for path in hostile_configurations(tmp_path):
        (finding,) = run([Check("allow-other", lambda path=path: fuse.look_configuration(path))])  # type: ignore[misc]
        assert finding.status is Status.WARNING, path
        assert "cannot be looked at" in finding.found
    large = tmp_path / "large"
    large.write_bytes(b"\0" * (1 << 20) + b"\nuser_allow_other\n")
    (finding,) = fuse.look_configuration(large)
    assert "only root" in finding.found
    (finding,) = fuse.look_configuration(tmp_path / "missing")
    assert finding.status is Status.OK


def test_directories_as_they_are(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    assert directories.observe(private) == directories.Facts(str(private), "directory")
    (private / "identity").touch()
    (private / "identity").chmod(0o640)
    assert directories.observe(private).loose_files == ("identity",)
    (tmp_path / "link").symlink_to(private)
    assert directories.observe(tmp_path / "link").kind == "other"
    assert directories.observe(private / "identity" / "below").kind == "missing"
    assert not directories.observe(private / "identity" / "below").parent_writable
    assert directories.observe(tmp_path / "a" / "b").parent_writable


def test_swap_of_this_machine_is_read() -> None:
    (finding,) = swap.look()
    assert finding.status in (Status.OK, Status.WARNING)


def test_the_file_system_of_a_swap_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "swapfile").touch()
    assert swap._kind_of_area(str(tmp_path / "swapfile")) in (swap.PLAIN, swap.ENCRYPTED, swap.UNKNOWN)
    assert swap._kind_of_area(str(tmp_path / "missing")) == swap.UNKNOWN


# -- the bus and a mock of BlueZ on it ------------------------------------------------------------------------


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """The name of a socket is limited to 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="pvd") as name:
        yield Path(name)


@pytest.fixture
def bluez(short_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MockBluez]:
    need_program("dbus-daemon")
    with dbus_daemon(short_directory, "pc") as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        air = Air()
        try:
            yield air.station(address, "00:11:22:33:44:55", "laptop")
        finally:
            air.end()


def test_no_bus_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    assert by_check(bluetooth.look(needed=False))["system-bus"].status is Status.WARNING
    assert by_check(bluetooth.look(needed=True))["system-bus"].status is Status.PROBLEM


def test_a_bus_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch, short_directory: Path) -> None:
    monkeypatch.setattr(bluetooth, "_TIMEOUT_S", 0.3)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{short_directory}/bus")
        server.listen()
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={short_directory}/bus,guid=0")
        assert by_check(bluetooth.look(needed=True))["bluez"].status is Status.PROBLEM


def test_a_bus_without_bluez(monkeypatch: pytest.MonkeyPatch, short_directory: Path) -> None:
    need_program("dbus-daemon")
    with dbus_daemon(short_directory, "pc") as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        found = by_check(bluetooth.look(needed=False))
    assert found["system-bus"].status is Status.OK
    assert "does not run" in found["bluez"].found


def test_a_bus_that_keeps_users_from_bluez(monkeypatch: pytest.MonkeyPatch, short_directory: Path) -> None:
    need_program("dbus-daemon")
    with dbus_daemon(short_directory, "pc", DENY_BLUEZ) as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        air = Air()
        try:
            air.station(address, "00:11:22:33:44:55", "laptop")
            finding = by_check(bluetooth.look(needed=True))["bluez"]
        finally:
            air.end()
    assert finding.status is Status.PROBLEM
    assert "group bluetooth" in finding.advice


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        ({}, Status.OK, "hci0 (00:11:22:33:44:55), on"),
        ({"Powered": Variant("b", False)}, Status.PROBLEM, "switched off"),
    ],
)
def test_an_adapter_as_bluez_shows_it(
    bluez: MockBluez, change: dict[str, Variant], status: Status, text: str
) -> None:
    assert bluez.adapter is not None
    bluez.adapter |= change
    finding = by_check(bluetooth.look(needed=True))["bluetooth-adapter"]
    assert finding.status is status
    assert text in finding.found


def test_no_adapter(bluez: MockBluez) -> None:
    bluez.adapter = None
    found = by_check(bluetooth.look(needed=False))
    assert found["bluez"].status is Status.OK
    assert found["bluetooth-adapter"].status is Status.WARNING


def test_rfkill_is_read(tmp_path: Path) -> None:
    for number, (kind, soft) in enumerate([("wlan", "1"), ("bluetooth", "1")]):
        entry = tmp_path / f"rfkill{number}"
        entry.mkdir()
        for name, value in {"type": kind, "soft": soft, "hard": "0"}.items():
            (entry / name).write_text(value + "\n")
    assert bluetooth._switches(tmp_path) == [bluetooth.Switch("rfkill1", True, False)]
    assert bluetooth._switches(tmp_path / "none") == []
