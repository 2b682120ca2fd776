"""A computer's and a phone's BlueZ (mocks, each on a D-Bus daemon of its own) that hear each other."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bluez_world import PC, PHONE, World
from support.mock_bluez import Air, dbus_daemon
from support.needs import need_program


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """The name of a socket is limited to 107 bytes."""
    directory = Path(tempfile.mkdtemp(prefix="pvb"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def world(short_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    need_program("dbus-daemon")
    before = threading.active_count()
    with dbus_daemon(short_directory, "pc") as pc_bus, dbus_daemon(short_directory, "phone") as phone_bus:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", pc_bus)
        air = Air()
        try:
            pc = air.station(pc_bus, PC, "laptop")
            phone = air.station(phone_bus, PHONE, "pocket")
            yield World(air, pc, phone, pc_bus, phone_bus, short_directory)
        finally:
            air.end()
    assert threading.active_count() == before, threading.enumerate()
