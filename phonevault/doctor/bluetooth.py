"""Bluetooth: the system bus, BlueZ and its permission, the adapter, rfkill."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from phonevault.doctor.finding import Finding, fine, not_applicable, problem, warning
from phonevault.doctor.hci import does_classic

if TYPE_CHECKING:
    from phone_link.transport.bluez.objects import Adapter

BUS_ADDRESS = "unix:path=/run/dbus/system_bus_socket"
_TIMEOUT_S = 4.0
_DAEMONS = ("/usr/libexec/bluetooth/bluetoothd", "/usr/lib/bluetooth/bluetoothd", "/usr/sbin/bluetoothd")
_ONLY = "only phones reached by Bluetooth need it"


@dataclass(frozen=True)
class Facts:
    """What was seen.

    Attributes:
        bus: "" if the system bus answers, else why not.
        absence: Why BlueZ does not answer at all, or empty.
        refusal: Why it does not answer this user, or empty.
        version: BlueZ's, or empty.
        adapters: What BlueZ shows.
        classic: Whether an adapter can do BR/EDR, by its name; None or missing if nobody tells.
        kernel_adapters: Names in /sys/class/bluetooth.
        needed: A paired phone is reached by Bluetooth through BlueZ.
    """

    bus: str
    absence: str = ""
    refusal: str = ""
    version: str = ""
    adapters: tuple[Adapter, ...] = ()
    classic: Mapping[str, bool | None] = field(default_factory=dict)
    kernel_adapters: tuple[str, ...] = ()
    needed: bool = False


@dataclass(frozen=True)
class Switch:
    """One entry of /sys/class/rfkill of type bluetooth."""

    name: str
    soft: bool
    hard: bool


def look(needed: bool) -> list[Finding]:
    """Observe and judge the bus, BlueZ and the adapter."""
    return judge(_facts(needed))


def look_switches(needed: bool) -> list[Finding]:
    """Observe and judge rfkill."""
    return [judge_switches(_switches(Path("/sys/class/rfkill")), needed)]


def judge(facts: Facts) -> list[Finding]:
    """Findings for bus, BlueZ, adapter; the later ones only if there is something to say."""
    lacking = problem if facts.needed else warning
    if facts.bus:
        start = f"start dbus; {_ONLY}"
        return [lacking("system-bus", facts.bus, start), _kernel_adapter(facts)]
    found = [fine("system-bus", "answers")]
    if facts.absence:
        installed = f" (bluetoothd {facts.version} is installed)" if facts.version else ""
        advice = f"install bluez and start bluetooth.service; {_ONLY}"
        found.append(lacking("bluez", facts.absence + installed, advice))
        return [*found, _kernel_adapter(facts)]
    if facts.refusal:
        advice = "log in at the computer's own screen, or become a member of the group bluetooth"
        found.append(lacking("bluez", facts.refusal, advice))
        return [*found, _kernel_adapter(facts)]
    return [*found, fine("bluez", f"bluetoothd {facts.version or 'of unknown version'}"), _adapter(facts)]


def judge_switches(switches: list[Switch], needed: bool) -> Finding:
    """One finding."""
    if not switches:
        return not_applicable("rfkill", "no switch for Bluetooth")
    hard = [switch.name for switch in switches if switch.hard]
    soft = [switch.name for switch in switches if switch.soft]
    judged = problem if needed else warning
    if hard:
        return judged(
            "rfkill", f"Bluetooth is off by a switch of the hardware ({', '.join(hard)})", "turn it on"
        )
    if soft:
        return judged("rfkill", f"Bluetooth is blocked ({', '.join(soft)})", "rfkill unblock bluetooth")
    return fine("rfkill", "Bluetooth is not blocked")


def _adapter(facts: Facts) -> Finding:
    lacking = problem if facts.needed else warning
    if not facts.adapters:
        return _kernel_adapter(facts)
    on = [adapter for adapter in facts.adapters if adapter.powered]
    if not on:
        names = ", ".join(_name(adapter) for adapter in facts.adapters)
        return lacking("bluetooth-adapter", f"switched off ({names})", "bluetoothctl power on")
    classic = [adapter for adapter in on if facts.classic.get(_name(adapter)) is not False]
    if not classic:
        return lacking(
            "bluetooth-adapter",
            f"{_name(on[0])} ({on[0].address}) cannot do Bluetooth Classic (BR/EDR)",
            "another adapter is needed",
        )
    known = ", does BR/EDR" if facts.classic.get(_name(classic[0])) else ""
    shown = ", ".join(f"{_name(adapter)} ({adapter.address})" for adapter in classic)
    return fine("bluetooth-adapter", f"{shown}, on{known}")


def _kernel_adapter(facts: Facts) -> Finding:
    """The adapter as far as the kernel tells without BlueZ."""
    lacking = problem if facts.needed else warning
    if facts.kernel_adapters:
        names = ", ".join(facts.kernel_adapters)
        return lacking("bluetooth-adapter", f"{names}: there, but BlueZ does not show it", "see bluez above")
    return lacking("bluetooth-adapter", "none", f"plug one in; {_ONLY}")


def _name(adapter: Adapter) -> str:
    return os.path.basename(adapter.path)


def _facts(needed: bool) -> Facts:
    from phone_link.errors import BluetoothDenied, LinkError
    from phone_link.transport.bluez import state

    facts = Facts(
        _bus_trouble(), kernel_adapters=tuple(sorted(_listing(Path("/sys/class/bluetooth")))), needed=needed
    )
    if facts.bus:
        return facts
    try:
        adapters = state.adapters(_TIMEOUT_S)
    except BluetoothDenied as error:
        return replace(facts, refusal=str(error), version=_version())
    except LinkError as error:
        return replace(facts, absence=str(error), version=_version())
    version = next((adapter.bluez_version for adapter in adapters if adapter.bluez_version), None)
    classic = {_name(adapter): does_classic(_name(adapter)) for adapter in adapters}
    return replace(facts, adapters=tuple(adapters), classic=classic, version=version or _version())


def _bus_trouble() -> str:
    """Why nobody listens at the system bus's address, or empty."""
    address = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", BUS_ADDRESS)
    path = address.partition(";")[0].partition("unix:path=")[2].partition(",")[0]
    if not path:
        return ""  # another kind of address: asking BlueZ will tell
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_TIMEOUT_S)
        try:
            probe.connect(path)
        except OSError as error:
            return f"{path}: {error.strerror or 'no answer'}"
    return ""


def _version() -> str:
    program = next((path for path in _DAEMONS if os.access(path, os.X_OK)), None)
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=2,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()[:20]


def _switches(directory: Path) -> list[Switch]:
    found = []
    for name in sorted(_listing(directory)):
        entry = directory / name
        if (entry / "type").read_text(encoding="ascii").strip() == "bluetooth":
            soft, hard = (
                (entry / part).read_text(encoding="ascii").strip() == "1" for part in ("soft", "hard")
            )
            found.append(Switch(name, soft, hard))
    return found


def _listing(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
