"""bumble:<hci>/<address>: Bluetooth Classic through a controller reached over a socket.

`<hci>` is `unix:PATH` or `tcp-client:HOST:PORT`, HCI H4 on a stream, as the virtual radio offers it. Two
independent host stacks meet there: the listener is Google's Bumble (a whole stack, a third of a second to
import), the connector is the lean one in `phone_link.transport.classic`, because a mount should not wait
for Bumble.
"""

from __future__ import annotations

import socket

from phone_link.errors import PhoneAbsent, SpecError
from phone_link.transport.base import Listener, Stream, TransportOptions
from phone_link.transport.classic import hci

ADAPTER_HINT = "is the Bluetooth adapter there and its radio program running?"


def parse_connect(rest: str) -> tuple[str, bytes]:
    """Split `<hci>/<address>` at the last slash; `SpecError` if either is malformed."""
    adapter, separator, address = rest.rpartition("/")
    try:
        wire = hci.parse_address(address)
    except ValueError:
        raise SpecError(f"bumble:{rest}: expected bumble:<hci>/AA:BB:CC:DD:EE:FF") from None
    if not separator:
        raise SpecError(f"bumble:{rest} lacks the HCI socket")
    return adapter, wire


def parse_adapter(adapter: str) -> str | tuple[str, int]:
    """The socket address of an `<hci>`: a path, or host and port."""
    kind, _, where = adapter.partition(":")
    if kind == "unix" and where and "\0" not in where and len(where.encode()) <= 107:
        return where
    if kind == "tcp-client":
        host, _, port = where.rpartition(":")
        if host and port.isascii() and port.isdigit() and 0 < int(port) < 65536:
            return host, int(port)
    raise SpecError(f"bumble:{adapter}: expected unix:PATH or tcp-client:HOST:PORT")


def open_adapter(adapter: str, timeout_s: float) -> socket.socket:
    """Connect to a controller; `PhoneAbsent` if there is none."""
    where = parse_adapter(adapter)
    try:
        if isinstance(where, tuple):
            sock = socket.create_connection(where, timeout_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.settimeout(timeout_s)
                sock.connect(where)
            except BaseException:
                sock.close()
                raise
    except OSError as error:
        reason = error.strerror or "no answer"
        raise PhoneAbsent(f"no Bluetooth adapter at {adapter} ({reason})", hint=ADAPTER_HINT) from None
    sock.settimeout(None)
    return sock


def connect_bumble(rest: str, timeout_s: float, options: TransportOptions) -> Stream:
    """Connect to the phonevault service of a phone; authenticated and encrypted, or not at all.

    A new bond is made only with `options.pairing`, by Secure Simple Pairing with numeric comparison that is
    accepted automatically at this level: the comparison that counts is phonevault's own of six
    digits bound to the Noise handshake.

    Raises:
        SpecError: The spec is malformed.
        PhoneAbsent: No adapter, or the phone does not answer.
        UnknownPeer: No link key on this side or on the phone's, and pairing is not allowed.
        ChannelError: The phone has another link key.
        PairingRefused: The phone does not pair.
        LinkError: The phone has no phonevault service, or the adapter fails.
    """
    from phone_link.transport.classic.connect import connect_rfcomm

    adapter, peer = parse_connect(rest)
    return connect_rfcomm(open_adapter(adapter, timeout_s), peer, timeout_s, options)


def listen_bumble(rest: str, options: TransportOptions) -> Listener:
    """Offer the phonevault service on an adapter; pairing as in `connect_bumble`.

    Raises:
        SpecError: The spec is malformed.
        LinkError: No adapter, it is in use, or it fails.
    """
    from phone_link.transport.bumble.listener import BumbleListener

    return BumbleListener(open_adapter(rest, 5.0), options)
