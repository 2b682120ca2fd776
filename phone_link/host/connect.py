"""From a paired phone to a session."""

from __future__ import annotations

import time

from phone_link.host.identity import HostIdentity
from phone_link.host.phone_book import PairedPhone
from phone_link.host.session import OPEN_TIMEOUT_S, PhoneSession
from phone_link.transport.base import TransportOptions
from phone_link.transport.open import connect

_DEFAULTS = TransportOptions()


def connect_phone(
    phone: PairedPhone,
    identity: HostIdentity,
    timeout_s: float = OPEN_TIMEOUT_S,
    options: TransportOptions = _DEFAULTS,
) -> PhoneSession:
    """Connect to a paired phone and open the channel, together within `timeout_s` seconds.

    Raises:
        PhoneAbsent: nothing answers at its address.
        UnknownPeer, ChannelError, LinkError: see `PhoneSession.open`.
    """
    deadline = time.monotonic() + timeout_s
    stream = connect(phone.spec, timeout_s, options)
    return PhoneSession.open(stream, identity, phone, max(1.0, deadline - time.monotonic()))
