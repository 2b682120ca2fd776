"""A thin way to ask the system's D-Bus: through `busctl`, which comes with systemd."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from typing import Any

DEFAULT_ADDRESS = "unix:path=/run/dbus/system_bus_socket"
_TIMEOUT_S = 2.0


class BusUnreachable(OSError):
    """Nobody answers at the bus's address."""


class NoTool(Exception):
    """`busctl` is not installed."""


class Refused(Exception):
    """The bus or a service answered with an error; the text is its own."""


def connect() -> str:
    """Return the address of the system bus after connecting to it once.

    Raises:
        BusUnreachable: Nobody listens there.
    """
    address = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", DEFAULT_ADDRESS)
    path = address.partition(";")[0].partition("unix:path=")[2].partition(",")[0]
    if not path:
        return address  # another transport: the first call will tell
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_TIMEOUT_S)
        try:
            probe.connect(path)
        except OSError as error:
            raise BusUnreachable(error.errno, error.strerror or "no answer", path) from None
    return address


def call(service: str, path: str, interface: str, method: str, *arguments: str) -> Any:
    """Call a method and return the `data` of its answer as `busctl --json` writes it.

    Raises:
        NoTool: There is no busctl.
        Refused: The call failed, or took more than two seconds.
    """
    program = shutil.which("busctl")
    if program is None:
        raise NoTool("busctl was not found")
    argv = [program, "--system", "--json=short", f"--timeout={_TIMEOUT_S:g}", "--auto-start=no", "call"]
    try:
        done = subprocess.run(
            [*argv, service, path, interface, method, *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT_S + 1,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Refused("no answer in time") from None
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise Refused(lines[0] if lines else f"busctl ended with {done.returncode}")
    try:
        return json.loads(done.stdout)["data"]
    except (ValueError, LookupError, TypeError):
        raise Refused("busctl wrote what is no answer") from None
