"""From an empty machine to a running BlueZ."""

from __future__ import annotations

import glob
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")
HERE = Path(__file__).resolve().parent
ADAPTER = Path("/sys/class/bluetooth/hci0")
BUS_SOCKET = Path("/run/dbus/system_bus_socket")
STATE = Path("/var/lib/bluetooth")
CONTROL_PORT, HCI_PORT = 1, 2


def port(number: int) -> str:
    """The device of a virtio port; there is no udev to give it a name."""
    return wait_for(lambda: next(iter(glob.glob(f"/dev/vport*p{number}")), ""), f"virtio port {number}")


def wait_for(condition: Callable[[], Found], what: str, timeout_s: float = 60.0) -> Found:
    """What the condition gives once that is true."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} does not come")
        time.sleep(0.02)
    return found


def prepare() -> None:
    """Modules, device nodes, the users and directories that Debian's packages make when they are installed."""
    subprocess.run(["/sbin/modprobe", "-a", "fuse", "rfcomm", "hci_vhci"], check=True)
    os.chmod("/dev/fuse", 0o666)
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "mode=700", "bluez", made(STATE)], check=True)
    made(BUS_SOCKET.parent)
    Path("/etc/machine-id").write_text("0" * 31 + "1\n")
    users = Path("/etc/passwd").read_text()
    if "\nmessagebus:" not in users:
        Path("/etc/passwd").write_text(users + "messagebus:x:65000:65000::/nonexistent:/usr/sbin/nologin\n")
    subprocess.run(["/sbin/ip", "link", "set", "lo", "up"], check=False)


def made(directory: Path) -> str:
    """The directory, made if it is not there."""
    directory.mkdir(parents=True, exist_ok=True)
    return str(directory)


def start() -> list[subprocess.Popen[bytes]]:
    """The message bus, the adapter, bluetoothd."""
    bus = subprocess.Popen(["/usr/bin/dbus-daemon", "--system", "--nofork", "--nopidfile"])
    wait_for(BUS_SOCKET.exists, "the message bus")
    shim = subprocess.Popen([sys.executable, str(HERE / "shim.py"), port(HCI_PORT)])
    wait_for(ADAPTER.exists, "the adapter")
    bluetoothd = start_bluetoothd()
    wait_for(is_powered, "BlueZ")
    return [bus, shim, bluetoothd]


def is_powered() -> bool:
    """Whether BlueZ has taken the adapter and switched it on."""
    shown = subprocess.run(["/usr/bin/bluetoothctl", "show"], capture_output=True, check=False)
    return b"Powered: yes" in shown.stdout


def start_bluetoothd() -> subprocess.Popen[bytes]:
    """BlueZ; its log goes to the console."""
    program = next(glob.iglob("/usr/libexec/bluetooth/bluetoothd"), "/usr/lib/bluetooth/bluetoothd")
    return subprocess.Popen([program, "-n"])
