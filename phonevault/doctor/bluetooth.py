"""Bluetooth: the system bus, BlueZ and its permission, the adapter, rfkill."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phonevault.doctor import bus
from phonevault.doctor.finding import Finding, fine, not_applicable, problem, warning

BLUEZ = "org.bluez"
_ADAPTER = "org.bluez.Adapter1"
_DAEMONS = ("/usr/libexec/bluetooth/bluetoothd", "/usr/lib/bluetooth/bluetoothd", "/usr/sbin/bluetoothd")
_ONLY = "only phones reached by Bluetooth need it"


@dataclass(frozen=True)
class Adapter:
    """One Bluetooth adapter as BlueZ shows it: `device_class` is 0 without BR/EDR (or switched off)."""

    name: str
    address: str
    powered: bool
    device_class: int


@dataclass(frozen=True)
class Facts:
    """What was seen.

    Attributes:
        bus: "" if the system bus answers, else why not.
        tool: busctl is there to ask BlueZ with.
        running: bluetoothd owns its name on the bus.
        version: What `bluetoothd --version` says, or empty.
        refusal: Why BlueZ does not answer this user, or empty.
        adapters: What BlueZ shows.
        kernel_adapters: Names in /sys/class/bluetooth.
        needed: A paired phone is reached by Bluetooth through BlueZ.
    """

    bus: str
    tool: bool = True
    running: bool = False
    version: str = ""
    refusal: str = ""
    adapters: tuple[Adapter, ...] = ()
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
    if not facts.tool:
        found.append(warning("bluez", "cannot be asked: busctl was not found", "it comes with systemd"))
        return [*found, _kernel_adapter(facts)]
    if not facts.running:
        installed = f"bluetoothd {facts.version} is installed, but" if facts.version else "bluetoothd"
        advice = f"install bluez and start bluetooth.service; {_ONLY}"
        found.append(lacking("bluez", f"{installed} does not run", advice))
        return [*found, _kernel_adapter(facts)]
    if facts.refusal:
        advice = "log in at the computer's own screen, or become a member of the group bluetooth"
        found.append(lacking("bluez", f"runs, but refuses this user: {facts.refusal}", advice))
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
        names = ", ".join(adapter.name for adapter in facts.adapters)
        return lacking("bluetooth-adapter", f"switched off ({names})", "bluetoothctl power on")
    classic = [adapter for adapter in on if adapter.device_class]
    if not classic:
        return lacking(
            "bluetooth-adapter",
            f"{on[0].name} ({on[0].address}) shows no Bluetooth Classic (BR/EDR)",
            "ControllerMode in /etc/bluetooth/main.conf must not be 'le'; some adapters cannot do it",
        )
    shown = ", ".join(f"{adapter.name} ({adapter.address})" for adapter in classic)
    return fine("bluetooth-adapter", f"{shown}, on, with BR/EDR")


def _kernel_adapter(facts: Facts) -> Finding:
    """The adapter as far as the kernel tells without BlueZ."""
    lacking = problem if facts.needed else warning
    if facts.kernel_adapters:
        names = ", ".join(facts.kernel_adapters)
        return lacking("bluetooth-adapter", f"{names}: there, but BlueZ does not show it", "see bluez above")
    return lacking("bluetooth-adapter", "none", f"plug one in; {_ONLY}")


def adapters_of(objects: object) -> tuple[Adapter, ...]:
    """Return the adapters in the answer of GetManagedObjects (as busctl writes it); what is malformed is left out."""
    if not isinstance(objects, list) or len(objects) != 1 or not isinstance(objects[0], dict):
        return ()
    found = []
    for path, interfaces in sorted(objects[0].items()):
        members = interfaces.get(_ADAPTER) if isinstance(interfaces, dict) else None
        if isinstance(members, dict):
            found.append(_one_adapter(os.path.basename(str(path)), members))
    return tuple(found)


def _one_adapter(name: str, members: dict[str, Any]) -> Adapter:
    def value(member: str) -> object:
        variant = members.get(member)
        return variant.get("data") if isinstance(variant, dict) else None

    device_class = value("Class")
    return Adapter(
        name=name,
        address=str(value("Address") or "?"),
        powered=value("Powered") is True,
        device_class=device_class if isinstance(device_class, int) else 0,
    )


def _facts(needed: bool) -> Facts:
    kernel = tuple(sorted(_listing(Path("/sys/class/bluetooth"))))
    try:
        bus.connect()
    except bus.BusUnreachable as error:
        return Facts(f"{error.filename}: {error.strerror}", kernel_adapters=kernel, needed=needed)
    version = _version()
    try:
        owned = bus.call(
            "org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus",
            "NameHasOwner",
            "s",
            BLUEZ,
        )
    except bus.NoTool:
        return Facts("", tool=False, version=version, kernel_adapters=kernel, needed=needed)
    except bus.Refused as error:
        return Facts(f"does not answer: {error}", kernel_adapters=kernel, needed=needed)
    if owned != [True]:
        return Facts("", version=version, kernel_adapters=kernel, needed=needed)
    try:
        objects = bus.call(BLUEZ, "/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
    except bus.Refused as error:
        return Facts(
            "", running=True, version=version, refusal=str(error), kernel_adapters=kernel, needed=needed
        )
    return Facts(
        "",
        running=True,
        version=version,
        adapters=adapters_of(objects),
        kernel_adapters=kernel,
        needed=needed,
    )


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
