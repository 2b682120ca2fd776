"""From an HCI socket to an open stream: power on, page, authenticate, encrypt, find the service, open it."""

from __future__ import annotations

import contextlib
import socket
import time

from phone_link.errors import LinkClosed, LinkError, LinkTimeout, PhoneAbsent
from phone_link.transport.base import TransportOptions
from phone_link.transport.bluetooth_uuid import SERVICE_UUID
from phone_link.transport.classic import hci
from phone_link.transport.classic.acl import AclLink
from phone_link.transport.classic.adapter import Adapter
from phone_link.transport.classic.l2cap import L2cap
from phone_link.transport.classic.rfcomm import DataChannel, ServiceRefusedError
from phone_link.transport.classic.security import Security
from phone_link.transport.classic.stream import FAREWELL_S, RfcommStream
from phone_link.transport.link_keys import LinkKeyStore

SERVICE_MISSING = "the phone offers no phonevault service"
SERVICE_HINT = "is phonevault running on the phone?"
BUSY_HINT = "one program at a time can drive an adapter over HCI, and a mounted vault does all the time"


def connect_rfcomm(
    sock: socket.socket, peer: bytes, timeout_s: float, options: TransportOptions
) -> RfcommStream:
    """Open the phonevault service of a phone.

    Args:
        sock: A connected stream socket that speaks HCI H4; owned by the stream from now on.
        peer: The phone's BD_ADDR as on the wire.
        timeout_s: Seconds for all of it.
        options: Where link keys are, and whether a new one may be made.

    Raises:
        PhoneAbsent: The phone does not answer, or not in time.
        UnknownPeer, ChannelError, PairingRefused: See `Security.secure`.
        LinkError: Anything else.
    """
    deadline = time.monotonic() + timeout_s
    adapter = Adapter(sock)
    link: AclLink | None = None
    try:
        _power_on(adapter, deadline)
        keys = LinkKeyStore(options.state_dir, hci.format_address(adapter.address))
        link = AclLink(adapter, peer)
        security = Security(link, keys, options.pairing)
        l2cap = L2cap(link)
        link.connect(deadline)
        security.secure(deadline)
        return _open_service(l2cap, keys, deadline)
    except LinkTimeout as late:
        _abandon(adapter, link)
        raise PhoneAbsent(str(late)) from None
    except BaseException:
        _abandon(adapter, link)
        raise


def _power_on(adapter: Adapter, deadline: float) -> None:
    try:
        adapter.power_on(deadline)
    except LinkClosed:
        raise LinkError("the Bluetooth adapter is used by another program", hint=BUSY_HINT) from None


def _abandon(adapter: Adapter, link: AclLink | None) -> None:
    if link is not None:
        link.disconnect(time.monotonic() + FAREWELL_S)
    adapter.close()


def _open_service(l2cap: L2cap, keys: LinkKeyStore, deadline: float) -> RfcommStream:
    """Try the channel of last time, if there is one; ask the phone's service directory otherwise."""
    address = hci.format_address(l2cap.link.peer)
    record = keys.get(address)
    if record is not None and record.channel is not None:
        # DM for one channel leaves the session open, but a fresh one is simpler and this is rare.
        with contextlib.suppress(ServiceRefusedError):
            return _open_channel(l2cap, record.channel, keys, deadline)
    number = find_channel(l2cap, deadline)
    stream = _open_channel(l2cap, number, keys, deadline)
    keys.remember_channel(address, number)
    return stream


def _open_channel(l2cap: L2cap, number: int, keys: LinkKeyStore, deadline: float) -> RfcommStream:
    channel = DataChannel(l2cap)
    try:
        channel.open(number, deadline)
    except ServiceRefusedError:
        channel.abandon()
        raise

    def on_close(ever_received: bool) -> None:
        # Silence may mean that some other service answers on this channel by now.
        if not ever_received:
            with contextlib.suppress(LinkError):
                keys.remember_channel(hci.format_address(l2cap.link.peer), None)

    return RfcommStream(channel, l2cap.link, on_close)


def find_channel(l2cap: L2cap, deadline: float) -> int:
    """Ask the phone on which RFCOMM channel its phonevault service is.

    Raises:
        LinkError: There is none.
    """
    from phone_link.transport.classic import sdp  # not needed when the channel is known

    query = sdp.ChannelQuery(bytes.fromhex(SERVICE_UUID.replace("-", "")))
    answers: list[bytes] = []
    channel = l2cap.open(sdp.PSM, answers.append, deadline)
    continuation: bytes | None = b""
    with l2cap.link.adapter.changed:
        while continuation is not None:
            channel.send(query.request(continuation))
            late = "the phone's service directory does not answer"
            l2cap.link.wait(lambda: bool(answers) or channel.closed is not None, deadline, late)
            if not answers:
                raise LinkError(SERVICE_MISSING, hint=SERVICE_HINT)
            continuation = query.answer(answers.pop())
    l2cap.close(channel)
    number = query.channel()
    if number is None:
        raise LinkError(SERVICE_MISSING, hint=SERVICE_HINT)
    return number
