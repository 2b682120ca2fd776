"""Our service as a BlueZ profile: as a client that connects to it, or as the server that offers it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

from phone_link.transport.bluetooth_uuid import SERVICE_UUID
from phone_link.transport.bluez import names
from phone_link.transport.bluez.answers import RemoteError
from phone_link.transport.bluez.bus import Bus, Refusal, Typed

PATH = "/phonevault/profile"
SERVICE_NAME = "phonevault"

OnConnection = Callable[[str, socket.socket], bool]
"""Takes the path of a device and a connected RFCOMM socket, which it owns if it returns True."""
OnDisconnection = Callable[[str], None]
"""Takes the path of a device whose connection BlueZ wants to end."""


class Profile:
    """The profile of one process. Only one program of a computer can have it: BlueZ allows one for a UUID.

    Args:
        bus: The connection; the profile, and what was connected through it, ends with it.
        on_connection: Gets connections, in threads of their own.
        on_disconnection: Hears of BlueZ's wish to end one.
        on_release: Hears that BlueZ has dropped the profile.
    """

    def __init__(
        self,
        bus: Bus,
        on_connection: OnConnection,
        on_disconnection: OnDisconnection,
        on_release: Callable[[], None],
    ) -> None:
        self._bus = bus
        self._on_connection = on_connection
        self._on_disconnection = on_disconnection
        self._on_release = on_release

    def register(self, *, server: bool) -> None:
        """Register.

        Args:
            server: Offer the service (a record in the service directory, an RFCOMM channel BlueZ chooses), or
                only connect to it.

        Raises:
            RemoteError: `org.bluez.Error.NotPermitted`: another program has it.
        """
        self._bus.serve(PATH, self._answer)
        options = {
            "Name": Typed("s", SERVICE_NAME),
            "Role": Typed("s", "server" if server else "client"),
            # Pairing and encryption of the link before it is handed over.
            "RequireAuthentication": Typed("b", True),
            # Who may use the service is decided inside, by phonevault's own keys.
            "RequireAuthorization": Typed("b", False),
            "AutoConnect": Typed("b", False),
        }
        if server:
            options["Channel"] = Typed("q", 0)  # 0: BlueZ takes a free one
        self._bus.call(
            names.ROOT, names.PROFILE_MANAGER, "RegisterProfile", "osa{sv}", PATH, SERVICE_UUID, options
        )

    def unregister(self) -> None:
        """Give it back; BlueZ does so by itself when the bus is closed."""
        with contextlib.suppress(RemoteError):
            self._bus.call(names.ROOT, names.PROFILE_MANAGER, "UnregisterProfile", "o", PATH)

    def _answer(self, member: str, arguments: list[Any], descriptors: list[int]) -> None:
        connection: socket.socket | None = None
        for index, descriptor in enumerate(descriptors):
            if member == "NewConnection" and len(arguments) == 3 and arguments[1] == index:
                connection = socket.socket(fileno=descriptor)
            else:
                os.close(descriptor)
        match member, arguments:
            case "NewConnection", [str(device), int(), dict()] if connection is not None:
                if not self._on_connection(device, connection):
                    connection.close()
                    raise Refusal(names.REJECTED)
            case "RequestDisconnection", [str(device)]:
                self._on_disconnection(device)
            case (("Release" | "Cancel"), []):
                if member == "Release":
                    self._on_release()
            case _:
                if connection is not None:
                    connection.close()
                raise Refusal(names.REJECTED)
