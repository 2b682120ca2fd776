"""Paired phones: is one reachable, is its program there, how long does a sign of life take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from phone_link.errors import LinkError, LinkTimeout, PhoneAbsent
from phonevault.doctor.finding import Finding, fine, problem, warning
from phonevault.errors import PhonevaultError

CONNECT_TIMEOUT_S = 6.0
PINGS = 9
PING_TIMEOUT_S = 1.0
LIMIT_S = CONNECT_TIMEOUT_S + (PINGS + 2) * PING_TIMEOUT_S
SLOW_S = 0.5
"""A round trip that leaves too little of the 2.5 s of silence after which a folder freezes."""
_SEVERAL_LINKS = ("tcp:", "unix:")
"""A phone serves several links at a time over these; the others carry one, which a mount may hold."""


class Session(Protocol):
    """What is used of `phone_link.host.session.PhoneSession`."""

    def ping(self, timeout_s: float) -> None:
        """Return after an authenticated answer; raise `LinkError`."""

    def close(self) -> None:
        """End the session."""


@dataclass(frozen=True)
class Phone:
    """A paired phone.

    Attributes:
        name: As the user calls it.
        spec: How it is reached.
        connect: Opens a session within so many seconds.
        wanted: The user asked for this one: its absence is a problem, not only worth knowing.
        mount: Mount point of a vault that holds a link to it now, or None.
    """

    name: str
    spec: str
    connect: Callable[[float], Session]
    wanted: bool = False
    mount: str | None = None


@dataclass(frozen=True)
class Facts:
    """What was seen: seconds to connect (the handshake included) and of each round trip, or the error."""

    connect_s: float = 0.0
    round_trips_s: tuple[float, ...] = ()
    error: LinkError | PhonevaultError | None = None


def look(phone: Phone) -> list[Finding]:
    """Observe and judge."""
    if phone.mount is not None and not phone.spec.startswith(_SEVERAL_LINKS):
        return [
            fine(f"phone {phone.name}", f"in use by the folder {phone.mount}: `phonevault status` has more")
        ]
    return [judge(phone, observe(phone))]


def judge(phone: Phone, facts: Facts) -> Finding:
    """One finding."""
    check = f"phone {phone.name}"
    if facts.error is not None:
        return _unreachable(phone, check, facts.error)
    trips_s = sorted(facts.round_trips_s)
    median_s = trips_s[len(trips_s) // 2]
    least_ms, median_ms, most_ms = (round(value * 1000, 1) for value in (trips_s[0], median_s, trips_s[-1]))
    found = (
        f"reached over {phone.spec.partition(':')[0]} in {facts.connect_s * 1000:.0f} ms; a sign of life takes"
        f" {least_ms} ms at least, {median_ms} in the median, {most_ms} at most ({len(facts.round_trips_s)} times)"
    )
    if median_s > SLOW_S:
        return warning(check, found, "a folder freezes after 2.5 s of silence: bring the phone nearer")
    return fine(check, found)


def observe(phone: Phone) -> Facts:
    """Connect, and ask for signs of life one after the other."""
    began_s = time.monotonic()
    try:
        session = phone.connect(CONNECT_TIMEOUT_S)
    except (LinkError, PhonevaultError) as error:
        return Facts(error=error)
    connected_s = time.monotonic() - began_s
    trips_s = []
    try:
        for _ in range(PINGS):
            sent_s = time.monotonic()
            session.ping(PING_TIMEOUT_S)
            trips_s.append(time.monotonic() - sent_s)
    except LinkError as error:
        return Facts(error=error)
    finally:
        session.close()
    return Facts(connected_s, tuple(trips_s))


def _unreachable(phone: Phone, check: str, error: LinkError | PhonevaultError) -> Finding:
    """A phone that is away is no fault of this computer, unless it was asked for; a wrong one is always."""
    away = isinstance(error, (PhoneAbsent, LinkTimeout))
    judged = warning if away and not phone.wanted else problem
    return judged(check, f"{phone.spec}: {error}", error.hint)
