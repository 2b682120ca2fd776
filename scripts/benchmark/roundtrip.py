"""What talking to the phone costs by transport: a heartbeat, an RSA unwrap, and an unlock from command to usable folder."""

from __future__ import annotations

import argparse
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from demo_steps import phone, vault
from demo_steps.radio import Radio
from demo_steps.report import Report
from demo_steps.world import World
from rich.console import Console

from benchmark import results
from benchmark.grid import Grid
from benchmark.paced_line import BITS_OF_A_BYTE
from phone_link.host.connect import connect_phone
from phone_link.host.identity import HostIdentity
from phone_link.host.keys import fingerprint_of
from phone_link.host.phone_book import PhoneBook
from phone_link.host.session import PhoneSession
from phone_link.transport.base import TransportOptions

BAUD = 115_200
KEY_BITS = (2048, 3072)
UNWRAPS = 10
"""In a round; RSA in the phone is most of one."""
_SECRET_BYTES = 32
_TIMEOUT_S = 20.0
_OAEP = padding.OAEP(padding.MGF1(SHA256()), SHA256(), None)
_HEARTBEAT_BYTES = 41 + 53
"""Of the AT stream both ways (docs/performance.md, what a mounted folder costs the phone)."""


@dataclass(frozen=True)
class Link:
    """How the two ends are named."""

    listen_spec: str
    connect_spec: str


def unix_socket(world: World) -> Link:
    """No line at all: what the programs themselves take."""
    spec = f"unix:{world.radio_dir / 'phone.sock'}"
    return Link(spec, spec)


def serial_line(world: World) -> Link:
    """Both ends open a terminal by pyserial; the cable between them keeps the line rate."""
    ends = [world.radio_dir / name for name in ("phone.tty", "computer.tty")]
    script = Path(__file__).with_name("paced_line.py")
    world.start("the cable", "python", script, BAUD, *ends).wait_for("ready")
    phone_spec, computer_spec = (f"serial:{end}" for end in ends)  # that rate is the default
    return Link(phone_spec, computer_spec)


def virtual_radio(world: World) -> Link:
    """HCI, L2CAP and RFCOMM over an emulated air that takes no time."""
    radio = Radio(world)
    return Link(radio.listen_spec, radio.connect_spec)


TRANSPORTS: Mapping[str, Callable[[World], Link]] = {
    "Unix socket": unix_socket,
    f"serial line, {BAUD:,} baud": serial_line,
    "virtual Bluetooth": virtual_radio,
}


class Paired:
    """A phone that serves on one transport, the computer paired with it, and a vault that it opens."""

    def __init__(self, world: World, transport: str, bits: int) -> None:
        self._world = world
        link = TRANSPORTS[transport](world)
        phone.make(world, bits)
        phone.pair(world, phone.serve(world, link), link)
        vault.create(world, phone.NAME)

    def session(self) -> PhoneSession:
        """As a mount daemon opens it."""
        config = Path(self._world.environment["XDG_CONFIG_HOME"], "phonevault")
        state = Path(self._world.environment["XDG_STATE_HOME"], "phonevault")
        identity = HostIdentity.load_or_create(config / "identity")
        options = TransportOptions(state_dir=state / "bluetooth")
        return connect_phone(PhoneBook(config).get(phone.NAME), identity, _TIMEOUT_S, options)

    def unlock_ms(self) -> float:
        """The command `mount`, from its start to a folder that can be listed."""
        took_s = vault.mount(self._world, "--phone", phone.NAME)
        vault.unmount(self._world)
        return took_s * 1000


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints; returns the exit code."""
    console = results.console()
    found: dict[str, dict[str, list[float]]] = {name: {} for name in TRANSPORTS}
    with ExitStack() as stack:
        paired = {}
        for bits in KEY_BITS:
            for transport in TRANSPORTS:
                world = stack.enter_context(World(Report(Console(quiet=True))))
                paired[transport, bits] = Paired(world, transport, bits)
        for _ in range(arguments.rounds):
            for (transport, bits), one in paired.items():
                for name, values in _measure(one, bits, arguments.beats).items():
                    found[transport].setdefault(name, []).extend(values)
    table(found).show(console)
    told = {"rounds": arguments.rounds, "baud": BAUD, "line_ms": line_ms(), "times_ms": found}
    results.write_json(arguments.json, "roundtrip", told)
    return 0


def _measure(one: Paired, bits: int, beats: int) -> dict[str, list[float]]:
    session = one.session()
    try:
        session.ping(_TIMEOUT_S)  # what happens once per session is over
        found = {"heartbeat": [_ms(lambda: session.ping(_TIMEOUT_S)) for _ in range(beats)]}
        found[f"*PDEC, RSA-{bits}"] = _unwraps_ms(session)
    finally:
        session.close()
    found[f"unlock, RSA-{bits}"] = [one.unlock_ms()]
    return found


def _unwraps_ms(session: PhoneSession) -> list[float]:
    der = session.decryption_key(_TIMEOUT_S)
    key = load_der_public_key(der)
    assert isinstance(key, rsa.RSAPublicKey)
    secret = secrets.token_bytes(_SECRET_BYTES)
    wrapped, fingerprint = key.encrypt(secret, _OAEP), fingerprint_of(der)

    def unwrap() -> None:
        if session.decrypt(fingerprint, wrapped, "bench", _TIMEOUT_S) != secret:
            raise SystemExit("error: the phone unwrapped something else")

    unwrap()  # the key's handle is known from now on
    return [_ms(unwrap) for _ in range(UNWRAPS)]


def _ms(action: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    action()
    return (time.perf_counter() - began_s) * 1000


def line_ms() -> float:
    """What the bytes of a heartbeat take on the serial line alone."""
    return _HEARTBEAT_BYTES * BITS_OF_A_BYTE / BAUD * 1000


def table(times_ms: Mapping[str, Mapping[str, Sequence[float]]]) -> Grid:
    """Medians, with the smallest and the largest value."""
    names = list(next(iter(times_ms.values())))
    grid = Grid(["transport", *(f"{name}, ms" for name in names)])
    for transport, measured in times_ms.items():
        grid.rows.append([transport, *(results.short_spread(measured[name]) for name in names)])
    return grid
