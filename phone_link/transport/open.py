"""From a spec string to a stream or a listener. Each scheme's module is loaded only when it is used."""

from __future__ import annotations

from phone_link.errors import SpecError
from phone_link.transport.base import Listener, Stream, TransportOptions

SCHEMES = ("tcp", "unix", "pty", "serial", "bluetooth", "bumble")
CONNECT_TIMEOUT_S = 6.0
_DEFAULTS = TransportOptions()


def split_spec(spec: str, *, listening: bool = False) -> tuple[str, str]:
    """Return scheme and rest of a spec.

    Raises:
        SpecError: the scheme is unknown, or the rest is missing (whoever listens at `bluetooth:` needs none).
    """
    scheme, separator, rest = spec.partition(":")
    if not separator or scheme not in SCHEMES:
        raise SpecError(f"unknown kind of link in {spec!r} (known: {', '.join(SCHEMES)})")
    if not rest and not (listening and scheme == "bluetooth"):
        raise SpecError(f"{spec!r} lacks an address")
    return scheme, rest


def connect(spec: str, timeout_s: float = CONNECT_TIMEOUT_S, options: TransportOptions = _DEFAULTS) -> Stream:
    """Connect to a phone.

    Args:
        spec: `bluetooth:<address>`, `serial:PATH?baud=115200`, `tcp:HOST:PORT`, `unix:PATH`, `pty:PATH`,
            `bumble:<hci>/<address>`.
        timeout_s: seconds until `PhoneAbsent`.
        options: state directory and Bluetooth pairing.

    Raises:
        SpecError: the spec is malformed.
        PhoneAbsent: nothing answers there.
        LinkError: the transport itself failed.
    """
    scheme, rest = split_spec(spec)
    match scheme:
        case "tcp":
            from phone_link.transport.sockets import connect_tcp

            return connect_tcp(rest, timeout_s)
        case "unix":
            from phone_link.transport.sockets import connect_unix

            return connect_unix(rest, timeout_s)
        case "pty":
            from phone_link.transport.pty import connect_pty

            return connect_pty(rest)
        case "serial":
            from phone_link.transport.serial import connect_serial

            return connect_serial(rest)
        case "bluetooth":
            from phone_link.transport.bluez import connect_bluez

            return connect_bluez(rest, timeout_s, options)
    from phone_link.transport.bumble import connect_bumble

    return connect_bumble(rest, timeout_s, options)


def listen(spec: str, options: TransportOptions = _DEFAULTS) -> Listener:
    """Listen for computers; specs as for `connect` (`bluetooth:` and `bumble:<hci>` without an address).

    Raises:
        SpecError: the spec is malformed.
        LinkError: the address is in use or not ours.
    """
    scheme, rest = split_spec(spec, listening=True)
    match scheme:
        case "tcp":
            from phone_link.transport.sockets import listen_tcp

            return listen_tcp(rest)
        case "unix":
            from phone_link.transport.sockets import listen_unix

            return listen_unix(rest)
        case "pty":
            from phone_link.transport.pty import listen_pty

            return listen_pty(rest)
        case "serial":
            from phone_link.transport.serial import listen_serial

            return listen_serial(rest)
        case "bluetooth":
            from phone_link.transport.bluez import listen_bluez

            return listen_bluez(rest, options)
    from phone_link.transport.bumble import listen_bumble

    return listen_bumble(rest, options)
