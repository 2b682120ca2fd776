"""The radio's control socket: one command a line, one answer a line.

range ADDR on|off     walk a device into range or out of it
close ADDR            its side drops all links, as a phone does whose Bluetooth is switched off
sniff ADDR SLOTS      its links go into sniff mode with this interval (0.625 ms each, even), 0: out of it
sup SECONDS           link supervision timeout of links for which no host chose one
status                one line of JSON
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import Any

from bumble import hci

from phone_link.virtual.air import Air, format_address, parse_address
from phone_link.virtual.sniff import is_interval
from phone_link.virtual.station import Station

MAX_LINE_BYTES = 256
MAX_SUPERVISION_TIMEOUT_S = 0xFFFF * 0.625e-3


class ControlError(Exception):
    """A command that makes no sense; the message goes back to the sender."""


class Control:
    """Executes control commands on the air and the stations."""

    def __init__(self, air: Air, stations: list[Station]) -> None:
        self._air = air
        self._stations = stations
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._clients: set[asyncio.StreamWriter] = set()

    async def open(self, path: Path) -> None:
        """Listen; a stale socket is replaced."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._path = path
        self._server = await asyncio.start_unix_server(self._serve, str(path), limit=MAX_LINE_BYTES)
        os.chmod(path, 0o600)

    def close(self) -> None:
        """Stop listening, remove the socket."""
        if self._server is not None:
            self._server.close()
        for client in self._clients:
            client.close()
        if self._path is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            while line := await reader.readline():
                writer.write(self.answer(line.decode("utf-8", "replace")).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # gone, or a line beyond all bounds
        finally:
            self._clients.discard(writer)
            writer.close()

    def answer(self, line: str) -> str:
        """Execute one line; `ok`, a line of JSON, or `error: …`."""
        try:
            return self._execute(line.split())
        except ControlError as error:
            return f"error: {error}"

    def _execute(self, words: list[str]) -> str:
        match words:
            case ["range", address, "on" | "off" as state]:
                self._air.set_range(self._station(address).address, state == "on")
            case ["close", address]:
                controller = self._station(address).controller
                if controller is not None:
                    controller.close_links()
            case ["sniff", address, slots]:
                self._sniff(self._station(address), slots)
            case ["sup", seconds]:
                self._air.set_supervision_timeout(_timeout(seconds))
            case ["status"]:
                return json.dumps(self.status())
            case _:
                raise ControlError(
                    "expected: range ADDR on|off, close ADDR, sniff ADDR SLOTS, sup SECONDS, or status"
                )
        return "ok"

    @staticmethod
    def _sniff(station: Station, text: str) -> None:
        slots = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else -1
        if slots != 0 and not is_interval(slots):
            raise ControlError("a sniff interval is an even number of slots, 2 to 65534, or 0")
        controller = station.controller
        if controller is not None:
            for address in list(controller.links):
                controller.set_sniff(address, slots)

    def _station(self, text: str) -> Station:
        try:
            address = parse_address(text)
        except ValueError as error:
            raise ControlError(str(error)) from None
        for station in self._stations:
            if station.address == address:
                return station
        raise ControlError(f"no controller has the address {text}")

    def status(self) -> dict[str, Any]:
        """The supervision timeout and, by address, each controller with its links."""
        return {
            "supervision_timeout_s": self._air.supervision_timeout_s,
            "controllers": {
                format_address(station.address): {
                    "socket": str(station.path),
                    "host": station.controller is not None,
                    "in_range": station.address not in self._air.out_of_range,
                    "links": _links(station),
                }
                for station in self._stations
            },
        }


def _links(station: Station) -> dict[str, dict[str, bool | int]]:
    controller = station.controller
    links: dict[hci.Address, Any] = controller.links if controller is not None else {}
    return {
        format_address(address): {
            "authenticated": state.link_key is not None,
            "encrypted": state.encrypted,
            "heard": state.silent_since is None,
            "sniff_slots": state.sniff_slots,
        }
        for address, state in links.items()
    }


def _timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ControlError(f"not a number of seconds: {text!r}") from None
    if not 0 < seconds <= MAX_SUPERVISION_TIMEOUT_S:
        raise ControlError(f"a supervision timeout is between 0 and {MAX_SUPERVISION_TIMEOUT_S:.0f} s")
    return seconds
