r"""The virtual radio as a program.

    python -m phone_link.virtual.radio --controller F0:F1:F2:F3:F4:F5=/run/phone.sock \
        --controller F0:F1:F2:F3:F4:F6=/run/pc.sock --control /run/radio.ctl

Prints `ready` when hosts can connect, ends at SIGTERM or SIGINT and removes its sockets.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from bumble import hci

from phone_link.virtual.air import DEFAULT_SUPERVISION_TIMEOUT_S, Air, parse_address
from phone_link.virtual.control import Control
from phone_link.virtual.station import Station


@dataclass(frozen=True)
class ControllerSpec:
    """`ADDRESS=SOCKET` of the command line."""

    address: hci.Address
    path: Path

    @classmethod
    def parse(cls, text: str) -> ControllerSpec:
        """Read one `--controller` value; `ValueError` if it is malformed."""
        address, separator, path = text.partition("=")
        if not separator or not path:
            raise ValueError(f"expected ADDRESS=SOCKET, not {text!r}")
        return cls(parse_address(address), Path(path))


async def run(controllers: list[ControllerSpec], control_path: Path | None, supervision_s: float) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    air = Air()
    air.set_supervision_timeout(supervision_s)
    stations = [Station(spec.address, spec.path, air) for spec in controllers]
    control = Control(air, stations)
    try:
        for station in stations:
            await station.open()
        if control_path is not None:
            await control.open(control_path)
        print("ready", flush=True)
        await stop.wait()
    finally:
        control.close()
        for station in stations:
            station.close()


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m phone_link.virtual.radio", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--controller",
        dest="controllers",
        metavar="ADDRESS=SOCKET",
        type=ControllerSpec.parse,
        action="append",
        required=True,
        help="a controller and the unix socket on which it speaks HCI H4; repeat for each",
    )
    parser.add_argument("--control", type=Path, metavar="SOCKET", help="control socket")
    parser.add_argument(
        "--sup",
        type=float,
        default=DEFAULT_SUPERVISION_TIMEOUT_S,
        metavar="SECONDS",
        help="link supervision timeout (default: %(default)g, as in real life)",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = _arguments(argv)
    addresses = {bytes(spec.address) for spec in arguments.controllers}
    if len(addresses) != len(arguments.controllers):
        print("error: two controllers have the same address", file=sys.stderr)
        return 2
    try:
        asyncio.run(run(arguments.controllers, arguments.control, arguments.sup))
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
